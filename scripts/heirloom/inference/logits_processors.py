"""What changes the scores of tokens belongs to the prompt: not to its batch, its rank or what was drawn before."""

import inspect
import random
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

WARPERS = {
    "temperature": (TemperatureLogitsWarper, 1.0),
    "top_h": (TopHLogitsWarper, None),
    "top_k": (TopKLogitsWarper, 0),
    "top_p": (TopPLogitsWarper, 1.0),
    "min_p": (MinPLogitsWarper, 0.0),
    "typical_p": (TypicalLogitsWarper, 1.0),
    "epsilon_cutoff": (EpsilonLogitsWarper, 0.0),
    "eta_cutoff": (EtaLogitsWarper, 0.0),
}
"""Sampling options in the order in which transformers applies them, each with the value that changes nothing."""


class SeededSampling(LogitsProcessor):
    """Leaves each row one token, drawn from the row's own stream of numbers; a greedy search then takes it.

    The token is the inverse of the cumulative distribution at a uniform number, so that it is exactly a draw from
    softmax(scores).
    """

    logprobs: list[torch.Tensor] | None = None
    """Give it a list to have in it how likely the drawn tokens of each place were (B,): nats, in double precision."""

    def __init__(self, seeds: Sequence[str]) -> None:
        """Give each row of the batch its seed."""
        self.streams = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return scores (B, V) that are -inf for all but the drawn token of each row."""
        probabilities = scores.double().softmax(dim=-1)  # (B, V); double: V may be 10^5 small terms
        cumulative = probabilities.cumsum(dim=-1)
        uniform = torch.tensor([[stream.random()] for stream in self.streams], dtype=torch.double, device=scores.device)
        # right=True never takes a token of probability 0; the last value may be rounded to less than 1
        drawn = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        drawn = drawn.clamp(max=scores.shape[-1] - 1)
        if self.logprobs is not None:
            self.logprobs.append(probabilities.gather(-1, drawn)[:, 0].log())
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn, 0.0)

    # transformers asks for it before each token, and to find it out takes as long as to draw
    __call__.__signature__ = inspect.signature(__call__)


def sampling_processors(options: dict[str, Any], seeds: Sequence[str]) -> LogitsProcessorList:
    """Return what draws from the distribution that `options` (keys of WARPERS, transformers' meaning) describe."""
    warpers = [
        warper(options[name])
        for name, (warper, neutral) in WARPERS.items()
        if options.get(name) is not None and options[name] != neutral
    ]
    return LogitsProcessorList([*warpers, SeededSampling(seeds)])


class EachAlone(LogitsProcessor):
    """Shows each row to processors of its own, without the padding before its prompt: they would count it."""

    def __init__(self, padding: Sequence[int], processors: Sequence[LogitsProcessorList]) -> None:
        """Give for each prompt of the batch how many places of padding stand before it, and what changes its scores."""
        self.padding, self.processors = padding, processors

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return scores (B × beams, V), of which each prompt's rows stand together."""
        beams = len(input_ids) // len(self.padding)
        rows = []
        for row in range(len(input_ids)):
            prompt = row // beams
            alone = input_ids[row : row + 1, self.padding[prompt] :]
            rows.append(self.processors[prompt](alone, scores[row : row + 1]))
        return torch.cat(rows)


def prompt_processors(
    options: dict[str, Any], prompts: Iterable[torch.Tensor], padding: Sequence[int], end_ids: Sequence[int]
) -> LogitsProcessorList:
    """Return what applies `options`, keys of GenerationConfig that look at whole prompts, to each prompt alone.

    `prompts`: the token ids (1, T) of each, without its `padding`; made only where there are options. transformers' own
    would read padding as text: it counts for min_length, and where the end token pads, no_repeat_ngram_size would
    forbid to end.
    """
    if not options:
        return LogitsProcessorList()
    made = {
        "encoder_repetition_penalty": EncoderRepetitionPenaltyLogitsProcessor,
        "encoder_no_repeat_ngram_size": EncoderNoRepeatNGramLogitsProcessor,
        "no_repeat_ngram_size": lambda size, _: NoRepeatNGramLogitsProcessor(size),
        "min_length": lambda length, ids: MinLengthLogitsProcessor(length, list(end_ids), device=ids.device),
    }
    each = [
        LogitsProcessorList(make(options[name], ids) for name, make in made.items() if name in options)
        for ids in prompts
    ]
    return LogitsProcessorList([EachAlone(padding, each)])
