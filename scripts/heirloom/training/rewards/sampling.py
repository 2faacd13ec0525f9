"""The one place in which answers are drawn that are learned from: prompts in, tokens with log-probabilities out.

By transformers, with the weights as they are. Another engine is another `Sampler`; nothing else knows how it is done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from heirloom.inference.answers import Answerer
from heirloom.inference.prompts import Prompt


@dataclass(frozen=True)
class Completion:
    """An answer as it was drawn: its tokens, the one that ends it among them, and whether it has ended."""

    ids: list[int]
    logprobs: list[float]
    """Nats, of each token under the distribution that it was drawn from, with temperature, top_k, top_p and min_p."""
    finished: bool


Sampler = Callable[[Sequence[Prompt]], list[Completion]]
"""What draws an answer to each prompt: a function of weights, prompt, `row_id` and `sample`, not of the batch."""


class Recorded(LogitsProcessor):
    """Draws as `drawing` does, and keeps how likely each drawn token was: `logprobs`, a tensor (B,) a place."""

    def __init__(self, drawing: LogitsProcessor) -> None:
        self.drawing = drawing
        self.logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return scores (B, V) that are -inf for all but the drawn tokens."""
        drawn = self.drawing(input_ids, scores)
        wide = scores.float()  # (B, V)
        picked = wide.gather(-1, drawn.argmax(dim=-1, keepdim=True)) - wide.logsumexp(dim=-1, keepdim=True)
        self.logprobs.append(picked[:, 0])
        return drawn


class SampledAnswers(Answerer):
    """An Answerer, set to sample, that gives tokens with their log-probabilities: a `Sampler`."""

    recorded: Recorded | None = None

    def sampling(self, batch: Sequence[Prompt]) -> LogitsProcessorList:
        """Return what draws the tokens of a batch, and keeps how likely they were."""
        *warpers, drawing = super().sampling(batch)
        self.recorded = Recorded(drawing)
        return LogitsProcessorList([*warpers, self.recorded])

    def __call__(self, batch: Sequence[Prompt]) -> list[Completion]:
        """Return an answer to each prompt of a batch."""
        new_ids = self.new_tokens(batch)
        logprobs = torch.stack(self.recorded.logprobs, dim=1).tolist()  # (B, N)
        found = []
        for ids, likely in zip(new_ids, logprobs, strict=True):
            end = next((at + 1 for at, token in enumerate(ids) if token in self.end_ids), None)
            found.append(Completion(ids[:end], likely[:end], finished=end is not None))
        return found
