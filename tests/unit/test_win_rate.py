"""Who answers more prompts better."""

import sys

import pytest

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.win_rate import win_rate

REFERENCES = {"t:1": "It is 7.", "t:2": "It is 8.", "t:3": "It is 9.", "t:4": "It is 10."}


def rows_of(answers: dict[str, list[str]]) -> list[dict]:
    """Return the rows of answers to the prompts, some of which have several."""
    return [
        {"row_id": prompt, "sample": sample, "completion": text, "reference": REFERENCES[prompt]}
        for prompt, texts in answers.items()
        for sample, text in enumerate(texts)
    ]


OURS = rows_of({"t:1": ["It is 7."], "t:2": ["It is 8."], "t:3": ["It is 3."], "t:4": ["It is 10.", "no"]})
THEIRS = rows_of({"t:4": ["no", "no"], "t:3": ["It is 9."], "t:2": ["It is 8."], "t:1": ["no"]})


def section(win_by: str) -> EvaluationSection:
    return EvaluationSection(metrics=["token_counts"], against=["other"], win_by=win_by)


@pytest.mark.parametrize("win_by", ["exact_match", "rouge"])
def test_wins_ties_and_losses_by_hand(win_by):
    """A prompt with several samples counts once, by its mean score; the order of the prompts does not matter."""
    found = win_rate(section(win_by), OURS, THEIRS, "other")
    assert (found["wins"], found["ties"], found["losses"], found["win_rate"]) == (2, 1, 1, 2.5 / 4)
    assert 0 <= found["low"] < found["win_rate"] < found["high"] <= 1
    reverse = win_rate(section(win_by), THEIRS, OURS, "other")
    assert (reverse["wins"], reverse["losses"], reverse["win_rate"]) == (1, 2, 1.5 / 4)
    same = win_rate(section(win_by), OURS, OURS, "other")
    assert (same["wins"], same["ties"], same["losses"], same["win_rate"]) == (0, 4, 0, 0.5)
    assert same["low"] < 0.5 < same["high"]  # four ties are no proof of equality


def test_numbers_decide():
    wrong = [row | {"completion": "0"} for row in OURS]
    assert win_rate(section("numeric_match"), OURS, wrong, "other")["wins"] == 3


def test_a_users_own_function_decides_on_one_prompt_at_a_time(tmp_path, monkeypatch):
    (tmp_path / "own_judge_of_a_test.py").write_text(
        "def shortness(rows):\n"
        "    assert len({row['row_id'] for row in rows}) == 1\n"
        "    return [-len(row['completion']) for row in rows]\n\n\n"
        "def both(rows):\n"
        "    return {'a': 1, 'b': 2}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = win_rate(section("own_judge_of_a_test:shortness"), OURS, THEIRS, "other")
    assert (found["wins"], found["ties"], found["losses"]) == (0, 2, 2)
    with pytest.raises(HeirloomError, match="own_judge_of_a_test:both: returned a dict; expected one number"):
        win_rate(section("own_judge_of_a_test:both"), OURS, THEIRS, "other")


def test_answers_to_other_prompts_are_not_compared():
    with pytest.raises(HeirloomError, match="evaluation.against: other answered other prompts, first t:4"):
        win_rate(section("exact_match"), OURS, [row for row in THEIRS if row["row_id"] != "t:4"], "other")
    told = [row | {"prompt": f"What is {row['row_id']}?", "dataset": "maths"} for row in OURS]
    poems = [row | {"prompt": "Write a poem."} for row in told]
    with pytest.raises(HeirloomError, match="other answered another prompt under the name t:1: let both runs answer"):
        win_rate(section("exact_match"), told, poems, "other")
