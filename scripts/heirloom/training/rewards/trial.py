"""Are the rewards worth training on? They are tried on answers of which it is known how good they are.

A reward that is the same for every answer teaches nothing; one that an empty answer gets teaches to say nothing. Both
cost a whole training before anybody sees it. So before a training the rewards are asked of the dataset's references, of
empty answers, and of answers planted as wrong: the references of other prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from heirloom.config.before_training.tried_rewards import KINDS, TRIED
from heirloom.errors import HeirloomError
from heirloom.training.rewards.functions import Rewards, Row

SHOWN = 2
"""Prompts whose tried answers are shown."""
NAMES = {"reference": "references", "wrong": "wrong answers", "empty": "empty answers"}


@dataclass(frozen=True)
class Trial:
    """What rewards gave to `prompts` prompts; `answers` and `parts` by kind, parts without weights."""

    rewards: Rewards
    prompts: int
    answers: dict[str, list[Row]]
    parts: dict[str, list[list[float]]]

    @property
    def totals(self) -> dict[str, list[float]]:
        """The weighted sums of each kind of answer that there is."""
        return {kind: [self.rewards.total(row) for row in rows] for kind, rows in self.parts.items() if rows}

    @property
    def problem(self) -> str | None:
        """Why nothing good can be learned from these rewards; None where it can.

        Of a reward model only that all are equal: its numbers compare answers to one prompt, and begin anywhere.
        """
        totals = self.totals
        every = [total for of_kind in totals.values() for total in of_kind]
        if len(set(every)) == 1:
            return f"give every answer {every[0]:g}, so nothing can be learned from them"
        if self.rewards.unbounded:
            return None
        if max(totals["reference"]) <= 0:
            return "give no reference more than 0, so no right answer would ever be rewarded"
        if max(totals["empty"]) >= median(totals["reference"]):
            return (
                f"give an empty answer {max(totals['empty']):g}, and half of the references "
                f"{median(totals['reference']):g} or less, so the model would learn to say nothing"
            )
        return None

    @property
    def said(self) -> str:
        """What the rewards give, in one line; with a warning where a reward model likes empty answers."""
        totals = self.totals
        means = ", ".join(f"{NAMES[kind]} {fmean(values):.3g}" for kind, values in totals.items())
        said = f"rewards, tried on {self.prompts} prompts, are on average: {means}"
        better = sum(none >= right for none, right in zip(totals["empty"], totals["reference"], strict=True))
        if self.rewards.unbounded and 2 * better >= self.prompts:
            said += f"; warning: to {better} of them an empty answer is worth as much as the reference or more"
        return said

    def means(self) -> dict[str, dict[str, float]]:
        """Return kind of answer → {"parts": {label: mean}, "reward": mean of their weighted sum}, with six digits."""
        found = {}
        for kind, totals in self.totals.items():
            columns = zip(self.rewards.labels, zip(*self.parts[kind], strict=True), strict=True)
            parts = {label: digits(fmean(column)) for label, column in columns}
            found[kind] = {"parts": parts, "reward": digits(fmean(totals))}
        return found

    def shown(self) -> list[dict[str, Any]]:
        """Return the answers to the first prompts, with what each is worth."""
        return [
            {
                "kind": kind,
                **{name: rows[number][name] for name in ("prompt", "completion", "reference")},
                "rewards": dict(zip(self.rewards.labels, map(digits, self.parts[kind][number]), strict=True)),
                "reward": digits(self.rewards.total(self.parts[kind][number])),
            }
            for number in range(SHOWN)
            for kind, rows in self.answers.items()
            if number < len(rows)
        ]


def try_rewards(rewards: Rewards, rows: Sequence[dict[str, Any]]) -> Trial:
    """Return what the rewards give to `rows`, which have row, prompt, reference and reference_tokens.

    Raises HeirloomError, which shows rows, when all answers are worth the same, no reference is worth more than 0, or
    an empty answer is worth as much as the references' median; and where a function of the user's fails.
    """
    answers = {kind: answers_of(kind, rows) for kind in KINDS}
    trial = Trial(rewards, len(rows), answers, {kind: rewards.parts(of_kind) for kind, of_kind in answers.items()})
    if trial.problem is not None:
        shown = "; ".join(map(shown_row, trial.shown()))
        raise HeirloomError(f"training.rewards {trial.problem}: change the rewards or their weights. Tried: {shown}")
    return trial


def evenly(count: int) -> list[int]:
    """Return which of `count` rows are tried."""
    tried = min(TRIED, count)
    return [number * count // tried for number in range(tried)]


def answers_of(kind: str, rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Return an answer of a kind to each prompt; none that is wrong where all references are the same."""
    found = []
    for number, row in enumerate(rows):
        text, tokens = row["reference"], row["reference_tokens"]
        if kind == "empty":
            text, tokens = "", 0
        elif kind == "wrong":
            after = (rows[(number + step) % len(rows)] for step in range(1, len(rows)))
            other = next((each for each in after if each["reference"].strip() != row["reference"].strip()), None)
            if other is None:
                continue
            text, tokens = other["reference"], other["reference_tokens"]
        found.append(
            {
                "row_id": f"train-{row['row']}",
                "sample": 0,
                "prompt": row["prompt"],
                "completion": text,
                "reference": row["reference"],
                "finish_reason": "stop",
                "completion_tokens": tokens,
            }
        )
    return found


def shown_row(row: dict[str, Any]) -> str:
    """Return one of `Trial.shown` as a message may show it."""
    each = ", ".join(f"{label} {part:g}" for label, part in row["rewards"].items())
    return f"{row['kind']} {row['completion'][:40]!r} to …{row['prompt'][-40:]!r}: {each}, in all {row['reward']:g}"


def digits(value: float) -> float:
    """Return six significant digits: more differ between machines where a reward model computes them."""
    return float(f"{value:.6g}")
