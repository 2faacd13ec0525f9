"""When a difference is called better or worse: by one function, and never on data that cannot carry it."""

import pytest

from heirloom.evaluation.intervals import Statistic
from heirloom.evaluation.scores import Scores, score_report
from heirloom.report.page import duration, number, signed
from heirloom.report.sample_generations import side_by_side
from heirloom.report.scores import score_rows, verdict, win_rows
from heirloom.report.seeds import compare, group_scores, pairs_to_compare


def report_of(run: list[int], base: list[int], name: str = "exact_match") -> dict:
    prompts = [f"t:{index}" for index in range(len(run))]
    return score_report(*(Scores({(name,): Statistic.mean(prompts, values)}) for values in (run, base)))


@pytest.mark.parametrize(
    ("right", "of", "judged"),
    [(1, 1, "within the noise"), (5, 5, "within the noise"), (6, 6, "better"), (8, 128, "better")],
)
def test_a_share_is_better_only_when_a_sign_test_can_say_so(right, of, judged):
    """Six of six is the least that a sign test takes for more than luck (p = 0.031)."""
    (row,) = score_rows(report_of([1] * right + [0] * (of - right), [0] * of))
    assert row["verdict"] == judged
    assert row["interval"][0] < row["interval"][1]
    (worse,) = score_rows(report_of([0] * of, [1] * right + [0] * (of - right)))
    assert worse["verdict"] == judged.replace("better", "worse")


def test_other_scores_need_ten_prompts_and_an_interval_with_a_width():
    for prompts, judged in ((9, "too few prompts"), (12, "better")):
        run = [0.5 + index / 100 for index in range(prompts)]
        (row,) = score_rows(report_of(run, [index / 200 for index in range(prompts)], "rouge"))
        assert row["verdict"] == judged
    assert verdict("rouge", {"low": 0.5, "high": 0.5, "prompts": 100}) == "not judged"
    assert verdict("rouge", {"low": 0.1, "high": 0.5}) == "not judged"  # of how many prompts?


def test_one_win_of_one_prompt_is_no_victory():
    for wins, losses, judged in ((1, 0, "within the noise"), (5, 0, "within the noise"), (6, 0, "better")):
        found = {"win_rate": 1.0, "low": 0.6, "high": 1.0, "wins": wins, "ties": 0, "losses": losses}
        assert win_rows({"against": {"other": found}})[0]["verdict"] == judged


def test_runs_that_are_not_paired_need_prompts_too():
    def group(right: int, of: int) -> dict:
        return group_scores([report_of([1] * right + [0] * (of - right), [0] * of)])

    assert compare(group(0, 3), group(3, 3))[0]["verdict"] == "too few prompts"
    assert compare(group(0, 12), group(12, 12))[0]["verdict"] == "better"
    assert compare(group(6, 12), group(8, 12))[0]["verdict"] == "within the noise"
    interval = group(127, 128)["exact_match"]["interval"]
    assert 0.9 < interval[0] < 127 / 128 < interval[1] <= 1


def test_numbers_as_a_reader_wants_them():
    assert [number(value) for value in (131072.4, 0.97661, 9999.4, 12345, None, "inf")] == [
        "131,072", "0.9766", "9999", "12,345", "–", "inf",
    ]  # fmt: skip
    assert (signed(-131072.4), signed(0.03125)) == ("-131,072", "+0.03125")
    durations = {59.94: "59.9 s", 59.99: "1 min 0 s", 599.4: "9 min 59 s", 599.6: "0 h 10 min", 3599.9: "1 h 00 min"}
    assert {seconds: duration(seconds) for seconds in durations} == durations


def test_several_samples_are_one_prompt():
    rows = [{"row_id": f"t:{index // 2}", "sample": index % 2, "prompt": "?", "completion": ""} for index in range(14)]
    prompts, in_all = side_by_side({"run": rows})
    assert (len(prompts), in_all) == (14, 7)


@pytest.mark.parametrize(("runs", "whole"), [(30, True), (31, False), (200, False)])
def test_the_page_of_many_runs_does_not_grow_with_their_square(runs, whole):
    """Run 7 is the best of one score and run 9 of another; each run stands on the one five before it, up to run 4."""
    configs = {f"r{at}": {"base": f"r{at - 5}" if at >= 5 else "some-model"} for at in range(runs)}
    groups = [
        {
            "runs": [name],
            "scores": {
                "exact_match": {"mean": -abs(at - 7)},
                "perplexity": {"mean": abs(at - 9)},
                "tokens": {"mean": at},
            },
        }
        for at, name in enumerate(configs)
    ]
    pairs = pairs_to_compare(groups, configs)
    assert pairs == sorted(set(pairs), key=lambda pair: pair[::-1])
    every = {(first, second) for second in range(runs) for first in range(second)}
    best = {pair for pair in every if 7 in pair or 9 in pair}
    below = {(first, second) for first, second in every if (second - first) % 5 == 0}
    assert set(pairs) == (every if whole else best | below)
