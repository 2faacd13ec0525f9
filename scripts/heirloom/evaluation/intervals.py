"""95 % intervals of scores over prompts, and what a comparison prompt by prompt can carry.

Scores in general: the bootstrap. Prompts are drawn with replacement, as many as there are, a thousand times; the
interval reaches from the 2.5th to the 97.5th percentile of the score over the draws (Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13). All samples of one prompt stay together, since they are not
independent. The draws follow from the number of prompts alone, so that two runs which answer the same prompts are
compared on the same draws, that is in pairs (Koehn, Statistical Significance Tests for Machine Translation Evaluation,
EMNLP 2004).

Shares (each row is right or wrong): the bootstrap knows no other rows than these, so 5 of 5 would be 1 for certain.
Theirs is Wilson's interval (JASA 22, 1927), and that of a change in pairs Agresti & Min's (Statistics in Medicine 24,
2005): both have a width even where all rows are alike. A score that never varies and is no share has no interval.
"""

import math
import random
import statistics
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from heirloom.errors import HeirloomError

Z = statistics.NormalDist().inv_cdf(0.975)
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
    is_share: bool = False
    """Whether it is the mean of rows that are each 0 or 1."""

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
        mean = cls.of_rows(prompts, [(float(value), 1.0) for value in values])
        return replace(mean, is_share=all(value in (0, 1) for value in values))

    @property
    def one_row_a_prompt(self) -> bool:
        """Whether no prompt has several rows (of a mean)."""
        return all(rows == 1 for _, rows in self.sums.values())

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
        return replace(self, sums={prompt: self.sums[prompt] for prompt in other.sums})


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


def score_interval(statistic: Statistic, draws: Sequence[float]) -> dict[str, float] | None:
    """Return {"low", "high", "prompts"} of a score, of which `draws` are the scores on all draws; None without any."""
    prompts = len(statistic.sums)
    found = interval(draws)
    if statistic.is_share and (statistic.one_row_a_prompt or not has_width(found)):
        found = wilson(statistic.value, prompts)
    return {**found, "prompts": prompts} if has_width(found) else None


def has_width(limits: dict[str, float]) -> bool:
    """Whether an interval is wider than rounding makes it."""
    return limits["high"] - limits["low"] > 1e-9 * max(abs(limits["low"]), abs(limits["high"]))


def change_interval(own: Statistic, base: Statistic, draws: Sequence[float]) -> dict[str, float]:
    """Return what is known of the change from `base` to `own`, paired by prompt: {"difference", "prompts"}.

    With an interval also {"low", "high"}, and of shares {"gained", "lost"}: how many prompts have a larger and a
    smaller share than before. `draws` are the differences on all draws; both have their prompts in the same order.
    """
    found: dict[str, float] = {"difference": own.value - base.value}
    limits = interval(draws)
    if own.is_share and base.is_share:
        changes = [
            ratio(mine) - ratio(theirs) for mine, theirs in zip(own.sums.values(), base.sums.values(), strict=True)
        ]
        gains, losses = [one for one in changes if one > 0], [-one for one in changes if one < 0]
        if own.one_row_a_prompt or not has_width(limits):
            limits = paired(math.fsum(gains), math.fsum(losses), len(changes))
        found |= {"gained": len(gains), "lost": len(losses)}
    if has_width(limits):
        found |= limits
    return found | {"prompts": len(own.sums)}


def wilson(share: float, rows: int) -> dict[str, float]:
    """Return the 95 % interval of a share of rows (Wilson, Probable Inference, 1927)."""
    middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    # at both ends the interval begins with the share itself, but for rounding
    return {
        "low": 0.0 if share == 0 else max(0.0, middle - half),
        "high": 1.0 if share == 1 else min(1.0, middle + half),
    }


def paired(gains: float, losses: float, pairs: int) -> dict[str, float]:
    """Return the 95 % interval of (gains − losses) / pairs, of pairs that gain, lose or stay.

    Half a pair is added to each of the four cells (Agresti & Min, Simple improved confidence intervals for comparing
    matched proportions, 2005).
    """
    gains, losses, pairs = gains + 0.5, losses + 0.5, pairs + 2
    middle = (gains - losses) / pairs
    half = Z * math.sqrt(gains + losses - (gains - losses) ** 2 / pairs) / pairs
    return {"low": max(-1.0, middle - half), "high": min(1.0, middle + half)}


def sign_test(gained: int, lost: int) -> float:
    """Return the probability of a split at least as uneven, were both sides as likely (exact, two-sided; McNemar)."""
    total = gained + lost
    logs = [
        math.lgamma(total + 1) - math.lgamma(less + 1) - math.lgamma(total - less + 1) - total * math.log(2)
        for less in range(min(gained, lost) + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
