"""The log-probabilities of an answer as it is generated: no pass over prompt and answer is needed afterwards.

transformers shows each step's scores to processors before it chooses a token. The first of them sees what the model
says, keeps it until the next step tells which token was chosen, and then keeps one number of it.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor

from heirloom.inference.completion_logprobs import DECIMALS

CHANGES_NO_SCORES = {
    "max_new_tokens", "use_cache", "cache_implementation", "cache_config", "stop_strings", "renormalize_logits",
}  # fmt: skip
"""Keys of GenerationConfig with which a step's scores are still the model's own when the first of our processors sees
them, and rows of a batch stay in their places."""


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
