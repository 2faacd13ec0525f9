"""How likely a model finds given answers: the sum of the log-probabilities of their tokens, each given those before.

Kept while an answer is generated, where that can be: transformers shows each step's scores to processors before it
chooses a token, and the first of them (`RecordedScores`) sees what the model says. It keeps one step until the next
tells which token was chosen, and then one number of it. Else by a pass over prompt and answer.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, PreTrainedModel

from heirloom.models.batches import padded_batch
from heirloom.models.language_models import is_encoder_decoder

CHANGES_NO_SCORES = {
    "max_new_tokens", "use_cache", "cache_implementation", "cache_config", "stop_strings", "renormalize_logits",
}  # fmt: skip
"""Keys of GenerationConfig with which a step's scores are still the model's own when the first of our processors sees
them, and rows of a batch stay in their places."""
DECIMALS = 4
"""More digits differ from one batch to another: sums of floating-point numbers depend on their order."""


@torch.no_grad()
def completion_logprobs(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_id: int
) -> list[float]:
    """Return one number (nats) for each answer, under the model itself: no temperature, no other processing.

    One forward pass; under ZeRO-3 all ranks call this together. An answer without tokens has 0.
    """
    if is_encoder_decoder(model):
        logits = decoder_logits(model, prompts, completions, pad_id)
    else:
        logits = causal_logits(model, prompts, completions, pad_id)
    found = []
    for row, completion in zip(logits, completions, strict=True):  # row: (N, V), what predicts the answer's places
        targets = torch.tensor(completion, dtype=torch.long, device=row.device)
        scores = row[: len(completion)].float()  # (N, V); a row at a time: a batch in float32 may be gigabytes
        picked = scores.gather(-1, targets[:, None])[:, 0] - scores.logsumexp(-1)
        found.append(round(picked.double().sum().item(), DECIMALS))
    return found


def plain_logprobs(model: PreTrainedModel, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
    """Return the log-probability (N,) of each token of an answer, nats: one text, no padding, no mask, no cache."""
    targets = torch.tensor([list(completion)], device=model.device)  # (1, N)
    if is_encoder_decoder(model):
        logits = decoder_logits(model, [prompt], [completion], 0)[0][None, :-1]
    else:
        ids = torch.tensor([[*prompt, *completion]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[:, len(prompt) - 1 : -1]  # (1, N, V)
    return logits.float().log_softmax(-1).gather(-1, targets[:, :, None])[0, :, 0]


def causal_logits(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_id: int
) -> list[torch.Tensor]:
    """Return the logits (N + 1, V) from each prompt's last token on; N: tokens of the answer.

    Rows are padded on the left, as while generating, so that all answers end at the same place and the logits of the
    prompts need not be computed.
    """
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    mask = padded_batch([[1] * len(row) for row in rows], 0, side="left").to(model.device)  # (B, T)
    arguments = {"input_ids": padded_batch(rows, pad_id, side="left").to(model.device), "attention_mask": mask}
    known = inspect.signature(model.forward).parameters
    if "position_ids" in known:
        arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    kept = max(map(len, completions)) + 1
    if "logits_to_keep" in known:
        arguments["logits_to_keep"] = kept
    logits = model(**arguments, use_cache=False).logits[:, -kept:]  # (B, kept, V)
    return [logits[index, kept - len(completion) - 1 :] for index, completion in enumerate(completions)]


def decoder_logits(
    model: PreTrainedModel, sources: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_id: int
) -> list[torch.Tensor]:
    """Return the logits (N + 1, V) of an encoder-decoder model for each answer, from its start token on."""
    start = model.generation_config.decoder_start_token_id
    start = model.config.decoder_start_token_id if start is None else start
    rows = [[start, *completion] for completion in completions]
    mask = padded_batch([[1] * len(source) for source in sources], 0, side="right")  # (B, S)
    output = model(
        input_ids=padded_batch(sources, pad_id, side="right").to(model.device),
        attention_mask=mask.to(model.device),
        decoder_input_ids=padded_batch(rows, pad_id, side="right").to(model.device),  # (B, T)
        use_cache=False,
    )
    return list(output.logits)


def can_record(search: dict[str, Any], first_tokens: dict[str, int]) -> bool:
    """Return whether nothing comes before our own processors: `search` are options that transformers itself applies.

    `first_tokens`: what opens an answer of an encoder-decoder model; a token that is forced is none that is scored.
    """
    others = {key for key in search if key not in CHANGES_NO_SCORES and not (key == "num_beams" and search[key] == 1)}
    return not others and "forced_bos_token_id" not in first_tokens


class RecordedScores(LogitsProcessor):
    """Changes nothing, and keeps how likely the model finds each chosen token; has to be the first processor."""

    def __init__(self) -> None:
        self.likely: list[torch.Tensor] = []
        """(B,) a step, nats."""
        self.last: torch.Tensor | None = None
        """Log-probabilities (B, V) of the step whose token is not chosen yet."""

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the scores (B, V) as they are."""
        if self.last is not None:
            self.chosen(input_ids[:, -1])
        self.last = scores.float().log_softmax(dim=-1)
        return scores

    __call__.__signature__ = inspect.signature(__call__)  # transformers asks for it before each token

    def chosen(self, tokens: torch.Tensor) -> None:
        """Keep what the last step said of the tokens (B,) that were chosen."""
        self.likely.append(self.last.gather(-1, tokens[:, None].to(self.last.device))[:, 0])
        self.last = None

    def sums(self, new_ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[float]:
        """Return the log-probability of each answer, nats: of the first of its tokens, as many as `lengths` says.

        `new_ids` are all tokens that were generated, (B, N).
        """
        if self.last is not None:
            self.chosen(torch.tensor([ids[-1] for ids in new_ids]))
        rows = torch.stack(self.likely, dim=1).tolist()  # (B, N)
        return [round(math.fsum(row[:length]), DECIMALS) for row, length in zip(rows, lengths, strict=True)]
