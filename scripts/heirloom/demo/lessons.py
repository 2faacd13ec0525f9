"""What each stage of the demo should have taught the model, checked on the scores of a real execution."""

from pathlib import Path
from typing import NamedTuple

from heirloom.json_files import read_json

SELDOM, MOSTLY = 0.1, 0.8  # shares of the held-out answers
HALF_KNOWN = 0.6  # at the most, of the answers that reinforcement learning begins with
LIFT = 0.25  # at the least, by reinforcement learning


class Lesson(NamedTuple):
    """A claim with the numbers that it stands on, and whether they bear it out."""

    stage: str
    claim: str
    holds: bool


def lessons(metrics: Path) -> list[Lesson]:
    """Return the demo's lessons, from the folder with training/RUN.json and evaluation/RUN.json of its four runs.

    Raises FileNotFoundError when a run has not been scored.
    """
    training = read_json(metrics / "training" / "demo-pretrain.json")
    pretrained, tuned, preferred, rewarded = (
        read_json(metrics / "evaluation" / f"demo-{stage}.json") for stage in ("pretrain", "sft", "dpo", "grpo")
    )
    before, after = training["before"]["perplexity"], pretrained["perplexity"]
    right = [scores["exact_match"] for scores in (pretrained, tuned, preferred)]
    polite = [scores["patterns"]["polite"] for scores in (pretrained, tuned, preferred)]
    ranked = preferred["preference"]["accuracy"]
    guessed, lift = rewarded["base"]["exact_match"], rewarded["change"]["exact_match"]
    return [
        Lesson(
            "pre-training",
            f"teaches the language: held-out perplexity {before:.3g} → {after:.3g}",
            after < before / 100,
        ),
        Lesson(
            "pre-training",
            f"alone answers no questions: {right[0]:.0%} of the held-out answers are right",
            right[0] <= SELDOM,
        ),
        Lesson(
            "fine-tuning",
            f"teaches to answer: right answers {right[0]:.0%} → {right[1]:.0%}",
            right[1] >= MOSTLY,
        ),
        Lesson(
            "preference tuning",
            f"teaches to be polite: polite answers {polite[1]:.0%} → {polite[2]:.0%}",
            polite[2] >= max(MOSTLY, polite[1] + 0.2),
        ),
        Lesson(
            "preference tuning",
            f"ranks {ranked:.0%} of the held-out pairs as preferred",
            ranked >= MOSTLY,
        ),
        Lesson(
            "preference tuning",
            f"costs no knowledge: right answers {right[1]:.0%} → {right[2]:.0%}",
            right[2] >= right[1] - 0.05,
        ),
        Lesson(
            "reinforcement learning",
            f"finds the true prices: right answers {guessed:.0%} → {rewarded['exact_match']:.0%}",
            SELDOM < guessed <= HALF_KNOWN and lift["difference"] >= LIFT and lift["low"] > 0,
        ),
    ]
