"""95 % bootstrap intervals of scores, over prompts.

Prompts are drawn with replacement, as many as there are, a thousand times; the interval reaches from the 2.5th to the
97.5th percentile of the score over the draws (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
All samples of one prompt stay together, since they are not independent. The draws follow from the number of prompts
alone, so that two runs which answer the same prompts are compared on the same draws, that is in pairs (Koehn,
Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004).
"""

import math
import random
import statistics
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from heirloom.errors import HeirloomError

RESAMPLES = 1000
SEED = 0
Key = TypeVar("Key", bound=Hashable)


def ratio(sums: Sequence[float]) -> float:
    """Return the first sum divided by the second."""
    return sums[0] / sums[1]


@dataclass(frozen=True)
class Statistic:
    """A score that follows from sums over prompts, such as a mean from a total and a count."""

    sums: dict[str, tuple[float, ...]]
    """Prompt → what its rows add to each sum."""
    score: Callable[[Sequence[float]], float] = ratio
    """Sums → the score."""

    @classmethod
    def of_rows(
        cls,
        prompts: Sequence[str],
        rows: Sequence[tuple[float, ...]],
        score: Callable[[Sequence[float]], float] = ratio,
    ) -> "Statistic":
        """Add up what each row gives to the sums, by the prompt that the row belongs to."""
        grouped: dict[str, list[tuple[float, ...]]] = {}
        for prompt, row in zip(prompts, rows, strict=True):
            grouped.setdefault(prompt, []).append(row)
        return cls({prompt: column_sums(own) for prompt, own in grouped.items()}, score)

    @classmethod
    def mean(cls, prompts: Sequence[str], values: Sequence[float]) -> "Statistic":
        """Return the mean over rows of one value a row."""
        return cls.of_rows(prompts, [(float(value), 1.0) for value in values])

    @property
    def value(self) -> float:
        """The score over all prompts."""
        return self.score(column_sums(list(self.sums.values())))

    def in_order_of(self, other: "Statistic") -> "Statistic":
        """Return the same with the prompts in the other's order. Raises HeirloomError when they are not the same."""
        if self.sums.keys() != other.sums.keys():
            first = min(self.sums.keys() ^ other.sums.keys())
            raise HeirloomError(
                f"the prompt {first} was scored for only one of the two runs that are compared: let both answer the "
                "same test split with the same generation.limit"
            )
        return Statistic({prompt: self.sums[prompt] for prompt in other.sums}, self.score)


def column_sums(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the sum of each column, rounded once, so that the order of the rows does not show."""
    return tuple(map(math.fsum, zip(*rows, strict=True)))


def resamples(prompts: int) -> Iterator[list[int]]:
    """Yield RESAMPLES draws of as many indices as there are prompts; the same ones at each call."""
    draws = random.Random(SEED)
    for _ in range(RESAMPLES):
        yield [int(draws.random() * prompts) for _ in range(prompts)]


def resampled(scores: Mapping[Key, Statistic]) -> dict[Key, list[float]]:
    """Return each statistic's score on every draw."""
    found: dict[Key, list[float]] = {key: [] for key in scores}
    alike: dict[int, list[Key]] = {}
    for key, statistic in scores.items():
        alike.setdefault(len(statistic.sums), []).append(key)
    for prompts, keys in alike.items():
        columns = {key: list(zip(*scores[key].sums.values(), strict=True)) for key in keys}
        for draw in resamples(prompts):
            for key in keys:
                sums = [math.fsum(map(column.__getitem__, draw)) for column in columns[key]]
                found[key].append(scores[key].score(sums))
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the 2.5th and the 97.5th percentile of the scores on all draws."""
    cuts = statistics.quantiles(values, n=40, method="inclusive")
    return {"low": cuts[0], "high": cuts[-1]}
