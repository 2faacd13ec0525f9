"""A user's own functions as metrics, and as what decides who wins."""

import sys

import pytest

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_scores import score_answers
from heirloom.evaluation.user_metrics import user_metric

ROWS = [{"row_id": f"t:{index}", "completion": text, "reference": ""} for index, text in enumerate(["yes", "no", "oh"])]
FUNCTIONS = """\
from math import nan

def shortest(rows):
    return min(len(row["completion"]) for row in rows)

def lengths(rows):
    return [len(row["completion"]) for row in rows]

def extremes(rows):
    return {"shortest": min(lengths(rows)), "longest": max(lengths(rows))}

def clears(rows):
    for row in rows:
        row.clear()
    return 0

def broken(rows):
    return {"good": 1, "bad": nan}

def too_few(rows):
    return [1.0]

def words(rows):
    return "many"

def fails(rows):
    return [row["answer"] for row in rows]

constant = 7
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    """A module in the folder where the script runs."""
    (tmp_path / "own_scores_of_a_test.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def scored(function: str):
    return user_metric(f"own_scores_of_a_test:{function}", ROWS, "evaluation.metrics")


def test_a_number_several_by_name_or_one_a_row():
    assert scored("shortest") == 2.0
    assert scored("extremes") == {"shortest": 2.0, "longest": 3.0}
    assert scored("lengths") == [3.0, 2.0, 2.0]


def test_one_number_a_row_has_an_interval_and_the_others_have_none():
    names = [f"own_scores_of_a_test:{function}" for function in ("lengths", "extremes")]
    scores = score_answers(EvaluationSection(metrics=names), ROWS)
    assert scores.nested() == {"answers": 3, names[0]: 7 / 3, names[1]: {"shortest": 2.0, "longest": 3.0}}
    assert scores.statistics.keys() == {(names[0],)}


def test_a_function_cannot_change_the_rows():
    assert scored("clears") == 0.0
    assert ROWS[0]["completion"] == "yes"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "own_scores_of_a_test:broken, bad: returned nan; expected a finite number"),
        ("too_few", "own_scores_of_a_test:too_few: returned a list of 1; expected a number for each row"),
        ("words", "own_scores_of_a_test:words: returned 'many'; expected a finite number, a dict of them by name"),
        ("fails", "own_scores_of_a_test:fails: failed: KeyError: 'answer' (own_scores_of_a_test.py, line 27)"),
        ("constant", "defines no function constant"),
        ("missing", "defines no function missing"),
    ],
)
def test_what_is_no_score_is_told_with_the_key(function, message):
    with pytest.raises(HeirloomError) as caught:
        scored(function)
    assert message in str(caught.value)
    assert str(caught.value).startswith("evaluation.metrics own_scores_of_a_test")


def test_a_module_that_is_nowhere_is_told():
    with pytest.raises(HeirloomError, match="there is no file nowhere/at_all.py in scripts/ or the project's root"):
        user_metric("nowhere.at_all:score", ROWS, "evaluation.win_by")


def test_a_module_that_cannot_be_imported_is_told(tmp_path):
    (tmp_path / "own_scores_without_a_library.py").write_text("import no_such_library\n")
    with pytest.raises(HeirloomError, match=r"cannot be imported: ModuleNotFoundError: .*no_such_library.*, line 1\)"):
        user_metric("own_scores_without_a_library:score", ROWS, "evaluation.metrics")
