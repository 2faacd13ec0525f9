"""Are the rewards worth training on? They are tried on answers of which it is known how good they are.

A reward that is the same for every answer teaches nothing; one that an empty answer gets teaches to say nothing. Both
cost a whole training before anybody sees it. So before the model is loaded the rewards are asked of the dataset's
references, of empty answers, and of answers planted as wrong: the references of other prompts.
"""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.training.rewards.functions import Rewards, Row

TRIED = 256
"""Prompts that are tried at the most, evenly spaced over the dataset."""
SHOWN = 2
KINDS = ("reference", "wrong", "empty")


def try_rewards(rewards: Rewards, rows: Sequence[dict[str, Any]]) -> str:
    """Return in one line what the rewards give; `rows` have prompt, reference and reference_tokens.

    Raises HeirloomError, which shows rows, when all answers are worth the same, no reference is worth more than 0, or
    an empty answer is worth as much as the references' median. Of a reward model only the first is refused: its numbers
    compare answers to one prompt, and begin anywhere; how often it prefers an empty answer is told.
    """
    tried = [rows[number * len(rows) // min(TRIED, len(rows))] for number in range(min(TRIED, len(rows)))]
    answers = {kind: answers_of(kind, tried) for kind in KINDS}
    parts = {kind: rewards.parts(of_kind) for kind, of_kind in answers.items()}
    totals = {kind: [rewards.total(of_row) for of_row in parts[kind]] for kind in KINDS if parts[kind]}
    every = [total for of_kind in totals.values() for total in of_kind]
    problem = None
    if len(set(every)) == 1:
        problem = f"give every answer {every[0]:g}, so nothing can be learned from them"
    elif not rewards.unbounded and max(totals["reference"]) <= 0:
        problem = "give no reference more than 0, so no right answer would ever be rewarded"
    elif not rewards.unbounded and max(totals["empty"]) >= median(totals["reference"]):
        problem = (
            f"give an empty answer {max(totals['empty']):g}, and half of the references "
            f"{median(totals['reference']):g} or less, so the model would learn to say nothing"
        )
    if problem is not None:
        shown = "; ".join(
            shown_row(kind, answers[kind][number], rewards, parts[kind][number])
            for number in range(min(SHOWN, len(tried)))
            for kind in totals
            if number < len(answers[kind])
        )
        raise HeirloomError(f"training.rewards {problem}: change the rewards or their weights. Tried: {shown}")
    means = ", ".join(f"{NAMES[kind]} {fmean(values):.3g}" for kind, values in totals.items())
    said = f"rewards, tried on {len(tried)} prompts, are on average: {means}"
    better = sum(none >= right for none, right in zip(totals["empty"], totals["reference"], strict=True))
    if rewards.unbounded and 2 * better >= len(tried):
        said += f"; warning: to {better} of them an empty answer is worth as much as the reference or more"
    return said


NAMES = {"reference": "references", "wrong": "wrong answers", "empty": "empty answers"}


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


def shown_row(kind: str, row: Row, rewards: Rewards, parts: Sequence[float]) -> str:
    """Return one tried answer as a message may show it."""
    each = ", ".join(f"{label} {part:g}" for label, part in zip(rewards.labels, parts, strict=True))
    prompt, answer = row["prompt"][-40:], row["completion"][:40]
    return f"{kind} {answer!r} to …{prompt!r}: {each}, in all {rewards.total(parts):g}"
