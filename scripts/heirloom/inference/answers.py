"""Let a model answer prompts, a batch at a time: a checkpoint, or a model in training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    StopStringCriteria,
)
from transformers.generation.streamers import BaseStreamer

from heirloom.config.sections.generation import GenerationSection
from heirloom.errors import HeirloomError
from heirloom.inference.completion_logprobs import RecordedScores, can_record, completion_logprobs
from heirloom.inference.logits_processors import prompt_processors, sampling_processors
from heirloom.inference.prompts import Prompt
from heirloom.models.batches import padded_batch
from heirloom.models.language_models import is_encoder_decoder, longest_text

FIRST_TOKENS = ("decoder_start_token_id", "forced_bos_token_id")
"""What opens the answers of encoder-decoder models, as their checkpoints say."""


OF_TOKENS = (
    "bad_words_ids", "begin_suppress_tokens", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "sequence_bias", "suppress_tokens",
)  # fmt: skip
"""Keys of GenerationConfig that name tokens by their ids."""


class Answerer:
    """A model with its tokenizer and the way it answers."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        section: GenerationSection,
        device: torch.device,
        *,
        synced_gpus: bool = False,
        logprobs: bool = False,
    ) -> None:
        """`synced_gpus`: the weights are spread over the ranks (ZeRO-3), which generate in step with each other.
        `logprobs`: rows tell how likely the model finds each answer.

        Raises HeirloomError for options that transformers refuses, for tokens that the model does not have, or when no
        token ends an answer.
        """
        self.logprobs = logprobs
        self.model, self.tokenizer, self.section, self.device = model, tokenizer, section, device
        self.synced_gpus = synced_gpus
        self.encoder_decoder = is_encoder_decoder(model)
        self.end_ids = chosen_end_ids(section.eos_tokens, tokenizer) or end_ids(model, tokenizer)
        self.pad_id = self.end_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        check_token_ids(section, model.config.get_text_config().vocab_size)
        self.generation_config = self.make_generation_config()

    @property
    def positions(self) -> int | None:
        """The longest text that the model was made for, tokens; None when it does not say."""
        config = self.model.config if self.encoder_decoder else self.model.config.get_text_config()
        return longest_text(config)

    def make_generation_config(self) -> GenerationConfig:
        """Return what `generate` goes by: the run's options and the checkpoint's special tokens, nothing else.

        Sampling is done by `sampling_processors`, so for `generate` the search is always greedy (or by beams).
        """
        try:
            config = GenerationConfig(
                **{**self.first_tokens(), **self.section.search_arguments},
                do_sample=False,
                eos_token_id=list(self.end_ids),
                pad_token_id=self.pad_id,
            )
            config.validate(strict=True)
        except (TypeError, ValueError) as error:
            raise HeirloomError(f"generation: transformers refuses these options: {error}") from error
        return config

    def first_tokens(self) -> dict[str, int]:
        """Return what opens an answer of an encoder-decoder model, under the names of GenerationConfig."""
        own = self.model.generation_config
        names = FIRST_TOKENS if self.encoder_decoder else ()
        return {name: getattr(own, name) for name in names if getattr(own, name) is not None}

    @cached_property
    def records(self) -> bool:
        """Whether log-probabilities are kept while an answer is generated; else a second pass gives them."""
        return can_record(self.section.search_arguments, self.first_tokens())

    @property
    def padding_side(self) -> Literal["left", "right"]:
        """Where prompts are padded: a decoder goes on where its prompt ends, an encoder counts from the first place."""
        return "right" if self.encoder_decoder else "left"

    @contextmanager
    def own_generation_config(self, config: GenerationConfig | None = None) -> Iterator[None]:
        """Let `generate` go by `config` (absent: the run's) and not fill it up with the model's generation defaults."""
        defaults = self.model.generation_config
        self.model.generation_config = self.generation_config if config is None else config
        try:
            yield
        finally:
            self.model.generation_config = defaults

    @torch.no_grad()  # not inference_mode: in training, ZeRO-3 gathers weights in here that the next step works with
    def answer(self, batch: Sequence[Prompt], streamer: BaseStreamer | None = None) -> list[dict[str, Any]]:
        """Return one row per prompt: text of the answer without its end token, and why it ended.

        `streamer` gets the tokens of a batch of one as they are drawn.
        """
        recorded = RecordedScores() if self.logprobs and self.records else None
        new_ids = self.new_tokens(batch, streamer, recorded)
        answers = [self.without_end(prompt, new) for prompt, new in zip(batch, new_ids, strict=True)]
        rows = [self.row(prompt, *answer) for prompt, answer in zip(batch, answers, strict=True)]
        if self.logprobs:
            completions = [ids for ids, _ in answers]
            if recorded is not None:
                found = recorded.sums(new_ids, [len(ids) for ids in completions])
            else:
                found = completion_logprobs(self.model, [prompt.ids for prompt in batch], completions, self.pad_id)
            rows = [row | {"logprob": logprob} for row, logprob in zip(rows, found, strict=True)]
        return rows

    @torch.no_grad()
    def new_tokens(
        self, batch: Sequence[Prompt], streamer: BaseStreamer | None = None, recorded: RecordedScores | None = None
    ) -> list[list[int]]:
        """Return the tokens after each prompt, of one length: with the one that ends an answer, and padding behind.

        `recorded` sees how likely the model finds them.
        """
        ids, mask = padded([prompt.ids for prompt in batch], self.pad_id, self.padding_side)
        processors = prompt_processors(
            self.section.prompt_arguments,
            (torch.tensor([prompt.ids], device=self.device) for prompt in batch),
            [0 if self.encoder_decoder else ids.shape[1] - len(prompt.ids) for prompt in batch],
            self.end_ids,
        )
        if self.section.do_sample:
            processors += self.sampling(batch)
        if recorded is not None:
            processors.insert(0, recorded)
        with self.own_generation_config():
            output = self.model.generate(
                max_new_tokens=max(self.longest_answer(prompt) for prompt in batch),
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                logits_processor=processors,
                tokenizer=self.tokenizer,  # read for stop_strings
                synced_gpus=self.synced_gpus,
                streamer=streamer,
            )
        first = 1 if self.encoder_decoder else ids.shape[1]  # after the token that starts the decoder, or the prompt
        return output[:, first:].tolist()

    def sampling(self, batch: Sequence[Prompt]) -> LogitsProcessorList:
        """Return what draws the tokens of a batch, each prompt's and sample's from a stream of their own."""
        seeds = [f"{self.section.seed}/{prompt.row_id}/{prompt.sample}" for prompt in batch]
        return sampling_processors(self.section.sampling_arguments, seeds)

    def longest_answer(self, prompt: Prompt) -> int:
        """Return how many tokens the answer may have; an encoder-decoder model counts it apart from the prompt."""
        return self.section.longest_answer(0 if self.encoder_decoder else len(prompt.ids))

    def without_end(self, prompt: Prompt, new_ids: list[int]) -> tuple[list[int], bool]:
        """Return the ids of an answer without end token and padding, and whether it ended by itself.

        A batch goes on to the longest answer that one of its prompts may have, so others are cut to theirs.
        """
        new_ids = new_ids[: self.longest_answer(prompt)]
        ends = [index for index, token in enumerate(new_ids) if token in self.end_ids]
        answer_ids = new_ids[: ends[0]] if ends else new_ids
        finished = bool(ends)
        if not finished and "stop_strings" in self.section.search_arguments:  # rows that stopped first are padded
            while answer_ids and answer_ids[-1] == self.pad_id:
                answer_ids = answer_ids[:-1]
            finished = len(answer_ids) < self.longest_answer(prompt) or self.ends_in_stop_string(prompt, answer_ids)
        return answer_ids, finished

    def ends_in_stop_string(self, prompt: Prompt, answer_ids: list[int]) -> bool:
        """Say whether the last token that an answer may have completes a stop string, as `generate` judges it."""
        before = [] if self.encoder_decoder else list(prompt.ids)
        return bool(self.stop_criterion(torch.tensor([[*before, *answer_ids]]), None)[0])

    @cached_property
    def stop_criterion(self) -> StopStringCriteria:
        """What judges whether a text ends in a stop string; it goes through the whole vocabulary to be made."""
        return StopStringCriteria(self.tokenizer, self.section.search_arguments["stop_strings"])

    def row(self, prompt: Prompt, answer_ids: list[int], finished: bool) -> dict[str, Any]:
        """Describe one answer."""
        return {
            "row_id": prompt.row_id,
            "sample": prompt.sample,
            "prompt": prompt.text,
            "completion": self.tokenizer.decode(answer_ids, skip_special_tokens=self.section.skip_special_tokens),
            "reference": prompt.reference,
            "finish_reason": "stop" if finished else "length",
            "prompt_tokens": len(prompt.ids),
            "completion_tokens": len(answer_ids),
        }


def check_token_ids(section: GenerationSection, vocabulary: int) -> None:
    """Raise HeirloomError when an option names a token id that the model does not have."""
    for key, value in section.passed_through.items():
        if key == "sequence_bias":
            value = [pair[0] for pair in value or ()]
        beyond = [token for token in flat(value) if token >= vocabulary] if key in OF_TOKENS else []
        if beyond:
            raise HeirloomError(
                f"generation.{key}: there is no token {beyond[0]}: the model has {vocabulary} tokens, numbered from 0"
            )


def flat(value: Any) -> list[int]:
    """Return the numbers in a number, a list of numbers, or a list of lists."""
    if isinstance(value, list | tuple):
        return [number for part in value for number in flat(part)]
    return [] if value is None else [value]


def chosen_end_ids(eos_tokens: str | None, tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """Return the ids that `eos_tokens` (ids or strings, comma-separated) names; none when it is absent.

    Raises HeirloomError for what is no token of the tokenizer, all at once.
    """
    names = [name.strip() for name in eos_tokens.split(",")] if eos_tokens is not None else []
    known = tokenizer.get_vocab()
    found = [int(name) if name.isdecimal() else known.get(name) for name in names]
    unknown = [name for name, token in zip(names, found, strict=True) if token is None or token >= len(tokenizer)]
    if unknown:
        raise HeirloomError(
            f"generation.eos_tokens: {', '.join(map(repr, unknown))} is no token of {tokenizer.name_or_path}, "
            f"which has {len(tokenizer)}: give ids or whole tokens, comma-separated"
        )
    return tuple(dict.fromkeys(found))


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """Return the ids that end an answer: the model's own (some have several) and the tokenizer's.

    Raises HeirloomError when there is none, since every answer would run to its longest.
    """
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    found = dict.fromkeys(token for token in (*own, tokenizer.eos_token_id) if token is not None)
    if not found:
        raise HeirloomError(f"{tokenizer.name_or_path}: its tokenizer has no eos_token, so no answer would end: set it")
    return tuple(found)


def padded(
    rows: Sequence[Sequence[int]], pad_id: int, side: Literal["left", "right"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids (B, T) and mask (B, T), 1 where tokens are; padding stands on the `side` left or right."""
    return padded_batch(rows, pad_id, side=side), padded_batch([[1] * len(row) for row in rows], 0, side=side)
