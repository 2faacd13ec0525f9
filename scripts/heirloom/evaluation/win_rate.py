"""How often a run's answers beat another run's on the same prompts; ties count half."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_metrics import exact_matches
from heirloom.evaluation.intervals import paired
from heirloom.evaluation.numeric_match import numeric_matches
from heirloom.evaluation.user_metrics import user_metric

Rows = Sequence[dict[str, Any]]


def win_rate(section: EvaluationSection, rows: Rows, others: Rows, other: str) -> dict[str, float]:
    """Return win_rate with its 95 % interval (low, high), and the numbers of wins, ties and losses.

    A prompt is won by the run whose answers score higher by `section.win_by`, in the mean where a prompt has several.
    Raises HeirloomError when the other run, of name `other`, answered other prompts.
    """
    check_same_prompts(rows, others, f"evaluation.against: {other}")
    own, theirs = prompt_scores(section, rows), prompt_scores(section, others)
    counts = {
        "wins": sum(score > theirs[prompt] for prompt, score in own.items()),
        "ties": sum(score == theirs[prompt] for prompt, score in own.items()),
        "losses": sum(score < theirs[prompt] for prompt, score in own.items()),
    }
    # half a point for each tie: 1/2 and half of what a prompt gains in the mean
    limits = {name: 0.5 + bound / 2 for name, bound in paired(counts["wins"], counts["losses"], len(own)).items()}
    return {"win_rate": (counts["wins"] + counts["ties"] / 2) / len(own), **limits, **counts}


def check_same_prompts(rows: Rows, others: Rows, place: str) -> None:
    """Raise HeirloomError for other ids or other texts; it begins with `place`: a key or flag, and whose answers."""
    asked, questions = prompt_texts(rows), prompt_texts(others)
    if changed := [prompt for prompt, text in asked.items() if questions.get(prompt, text) != text]:
        raise HeirloomError(
            f"{place} answered another prompt under the name {changed[0]}: let both runs answer the same dataset"
        )
    if asked.keys() != questions.keys():
        raise HeirloomError(
            f"{place} answered other prompts, first {min(asked.keys() ^ questions.keys())}: let both runs answer the "
            "same test split with the same generation.limit"
        )


def prompt_texts(rows: Rows) -> dict[str, tuple[str | None, str | None]]:
    """Return the dataset and the text of each prompt, as far as its rows tell them."""
    return {row["row_id"]: (row.get("dataset"), row.get("prompt")) for row in rows}


def prompt_scores(section: EvaluationSection, rows: Rows) -> dict[str, float]:
    """Return the score of each prompt's answers by `section.win_by`; a user's function sees one prompt at a time."""
    grouped: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        grouped.setdefault(row["row_id"], []).append(index)
    if ":" in section.win_by:
        return {
            prompt: user_score(section.win_by, [rows[index] for index in indices])
            for prompt, indices in grouped.items()
        }
    values = row_scores(section, rows)
    return {prompt: fmean(values[index] for index in indices) for prompt, indices in grouped.items()}


def user_score(win_by: str, answers: Rows) -> float:
    """Return what the user's own function says of the answers to one prompt."""
    found = user_metric(win_by, answers, "evaluation.win_by")
    if isinstance(found, dict):
        raise HeirloomError(f"evaluation.win_by {win_by}: returned a dict; expected one number to compare by")
    return fmean(found) if isinstance(found, list) else found


def row_scores(section: EvaluationSection, rows: Rows) -> Sequence[float]:
    """Return the score of each answer by a built-in `section.win_by`; rouge means ROUGE-L."""
    if section.win_by == "exact_match":
        return exact_matches(rows, section.answer_pattern)[0]
    if section.win_by == "numeric_match":
        return numeric_matches(rows)
    if section.win_by == "math_verify":
        from heirloom.evaluation.math_answers import math_matches

        return math_matches(rows, "evaluation.win_by")
    assert section.win_by == "rouge", section.win_by
    from heirloom.evaluation.rouge import rouge_f1

    return rouge_f1(rows)["rougeL"]
