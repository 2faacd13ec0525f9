"""The one place in which answers are drawn that are learned from: prompts in, tokens with log-probabilities out.

By transformers, with the weights as they are. Another engine is another `Sampler`; nothing else knows how it is done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessorList

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


class SampledAnswers(Answerer):
    """An Answerer, set to sample, that gives tokens with their log-probabilities: a `Sampler`."""

    def sampling(self, batch: Sequence[Prompt]) -> LogitsProcessorList:
        """Return what draws the tokens of a batch, and keeps how likely they were."""
        processors = super().sampling(batch)
        processors[-1].logprobs = self.logprobs_of_places = []
        return processors

    def __call__(self, batch: Sequence[Prompt]) -> list[Completion]:
        """Return an answer to each prompt of a batch."""
        new_ids = self.new_tokens(batch)
        logprobs = torch.stack(self.logprobs_of_places, dim=1).tolist()  # (B, N)
        found = []
        for ids, likely in zip(new_ids, logprobs, strict=True):
            end = next((at + 1 for at, token in enumerate(ids) if token in self.end_ids), None)
            found.append(Completion(ids[:end], likely[:end], finished=end is not None))
        return found
