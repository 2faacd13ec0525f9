"""Let a checkpoint answer prompts: load it, generate for one batch at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from heirloom.config.generation import GenerationSection
from heirloom.errors import HeirloomError
from heirloom.prompts import Prompt
from heirloom.seeded_sampling import sampling_processors


class Answerer:
    """A checkpoint with its tokenizer and the way it answers."""

    def __init__(self, checkpoint: Path, section: GenerationSection, device: torch.device) -> None:
        """Load the checkpoint. Raises HeirloomError when there is none, or for options transformers refuses."""
        if not (checkpoint / "config.json").is_file():
            raise HeirloomError(f"{checkpoint}: holds no model (no config.json)")
        self.section = section
        self.device = device
        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            checkpoint, local_files_only=True, dtype=section.default_dtype
        )
        self.model.to(device).eval()
        self.end_ids = end_ids(self.model, self.tokenizer, checkpoint)
        self.pad_id = self.end_ids[0] if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        self.model.generation_config = self.generation_config()

    @property
    def positions(self) -> int | None:
        """The longest text that the model was made for, tokens; None when it does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def generation_config(self) -> GenerationConfig:
        """Return what `generate` goes by: the run's options and the checkpoint's special tokens, nothing else.

        Sampling is done by `sampling_processors`, so for `generate` the search is always greedy (or by beams).
        """
        try:
            config = GenerationConfig(
                **self.section.search_arguments,
                do_sample=False,
                eos_token_id=list(self.end_ids),
                pad_token_id=self.pad_id,
            )
            config.validate(strict=True)
        except (TypeError, ValueError) as error:
            raise HeirloomError(f"generation: transformers refuses these options: {error}") from error
        return config

    @torch.inference_mode()
    def answer(self, batch: Sequence[Prompt]) -> list[dict[str, Any]]:
        """Return one row per prompt: text and ids of the answer without its end token, and why it ended."""
        width = max(len(prompt.ids) for prompt in batch)
        ids, mask = left_padded([prompt.ids for prompt in batch], self.pad_id, width)
        processors = None
        if self.section.do_sample:
            seeds = [f"{self.section.seed}/{prompt.row_id}" for prompt in batch]
            processors = sampling_processors(self.section.sampling_arguments, seeds)
        output = self.model.generate(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            logits_processor=processors,
            tokenizer=self.tokenizer,  # read for stop_strings
        )
        return [self.row(prompt, new) for prompt, new in zip(batch, output[:, width:].tolist(), strict=True)]

    def row(self, prompt: Prompt, new_ids: list[int]) -> dict[str, Any]:
        """Describe one answer, from the ids that were generated (padded at the end)."""
        ends = [index for index, token in enumerate(new_ids) if token in self.end_ids]
        answer_ids = new_ids[: ends[0]] if ends else new_ids
        finished = bool(ends)
        if not finished and "stop_strings" in self.section.search_arguments:  # rows that stopped first are padded
            while answer_ids and answer_ids[-1] == self.pad_id:
                answer_ids = answer_ids[:-1]
            finished = len(answer_ids) < self.section.max_new_tokens
        return {
            "row_id": prompt.row_id,
            "prompt": prompt.text,
            "completion": self.tokenizer.decode(answer_ids, skip_special_tokens=True),
            "reference": prompt.reference,
            "finish_reason": "stop" if finished else "length",
            "prompt_tokens": len(prompt.ids),
            "completion_tokens": len(answer_ids),
        }


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, checkpoint: Path) -> tuple[int, ...]:
    """Return the ids that end an answer: the checkpoint's own (some have several) and the tokenizer's.

    Raises HeirloomError when there is none, since every answer would run to its longest.
    """
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    found = dict.fromkeys(token for token in (*own, tokenizer.eos_token_id) if token is not None)
    if not found:
        raise HeirloomError(f"{checkpoint}: its tokenizer has no eos_token, so no answer would end: set it")
    return tuple(found)


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids (B, T) and mask (B, T), 1 where tokens are; padding stands before the prompts."""
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row)
        mask[index, width - len(row) :] = 1
    return ids, mask
