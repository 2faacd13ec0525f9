"""Gates: kept by the unfavourable end of the interval, or failed with what would decide."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.config.sections.gates import parse_gate
from heirloom.evaluation.intervals import Statistic, wilson
from heirloom.evaluation.scores import Scores, score_report
from heirloom.report.gates import check_gates

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/check_gates.py"


def report_of(right: int, of: int, base: int | None = None) -> dict:
    """Return the metrics file of a run with so many right answers, and of its base's."""
    prompts = [f"t:{index}" for index in range(of)]
    scores = [
        Scores({("exact_match",): Statistic.mean(prompts, [1] * count + [0] * (of - count))})
        for count in (right, base)
        if count is not None
    ]
    return score_report(scores[0], scores[1] if base is not None else None)


def found(said: str, evaluation: dict, name: str = "exact_match", **others) -> dict:
    (gate,) = check_gates({name: said}, evaluation, others.pop("harness", {}), others)
    return gate


def test_a_bound_is_kept_by_the_whole_interval():
    """Wilson's interval of 95 of 100 begins at 0.888, of 380 of 400 at 0.924."""
    assert found(">= 0.9", report_of(380, 400))["passed"]
    few = found(">= 0.9", report_of(95, 100))
    assert not few["passed"]
    assert few["why"].startswith("cannot decide: 0.95 (0.8882 to 0.9785) may be on either side of >= 0.9; about ")
    assert found("<= 0.99", report_of(380, 400))["passed"]
    assert not found("<= 0.96", report_of(380, 400))["passed"]


def test_the_number_of_prompts_that_is_told_would_do_and_one_less_would_not():
    gate = found(">= 0.9", report_of(95, 100))
    needed = int(gate["why"].split("about ")[1].split()[0])
    assert wilson(0.95, needed)["low"] >= 0.9 > wilson(0.95, needed - 1)["low"]
    whole = found(">= 0.99", report_of(50, 50))["why"]  # certain as far as seen
    needed = int(whole.split("about ")[1].split()[0])
    assert wilson(1.0, needed)["low"] >= 0.99 > wilson(1.0, needed - 1)["low"]


def test_a_score_on_the_wrong_side_fails_whatever_its_interval():
    assert found(">= 0.9", report_of(89, 100))["why"] == "0.89 (0.8137 to 0.9375) does not keep >= 0.9"


def test_not_worse_than_the_base_is_of_the_change_in_pairs():
    kept = found("not worse by 0.05", report_of(200, 400, base=200), "change.exact_match")
    assert kept["passed"] and kept["value"] == 0
    lost = found("not worse by 0.05", report_of(160, 400, base=200), "change.exact_match")
    assert not lost["passed"] and "does not keep >= -0.05" in lost["why"]


def test_less_is_better_turns_the_gate_round():
    change = {"difference": 0.2, "low": 0.1, "high": 0.3, "prompts": 50}
    evaluation = {"perplexity": 5.2, "base": {"perplexity": 5.0}, "change": {"perplexity": change}}
    assert found("not worse by 0.4", evaluation | {"interval": {}} | interval("perplexity"), "change.perplexity")[
        "passed"
    ]
    assert not found("not worse by 0.15", evaluation | interval("perplexity"), "change.perplexity")["passed"]


def interval(name: str) -> dict:
    return {"interval": {name: {"low": 5.0, "high": 5.4, "prompts": 50}}}


def test_another_run_is_compared_by_both_intervals():
    other = (report_of(380, 400), {})
    assert found("not worse than other by 0.1", report_of(380, 400), other=other)["passed"]
    close = found("not worse than other by 0.01", report_of(380, 400), other=other)
    assert not close["passed"] and "cannot decide" in close["why"]
    assert not found("not worse than other by 0.1", report_of(200, 400), other=other)["passed"]
    assert (
        found("not worse than other by 0.1", report_of(1, 9), other=({}, {}))["why"] == "other has no score exact_match"
    )


def test_the_harness_gives_standard_errors():
    harness = {"gsm8k": {"acc": 0.5, "acc_stderr": 0.01}}
    assert found(">= 0.48", {}, "harness.gsm8k.acc", harness=harness)["passed"]
    close = found(">= 0.49", {}, "harness.gsm8k.acc", harness=harness)
    assert not close["passed"] and close["why"].endswith("about 4 times as many rows would do")
    assert not found(">= 0.1", {}, "harness.gsm8k.acc", harness={"gsm8k": {"acc": 0.5}})["passed"]  # no error is known


def test_nine_prompts_decide_nothing():
    evaluation = {"rouge": {"rougeL": 0.9}, "interval": {"rouge.rougeL": {"low": 0.8, "high": 1.0, "prompts": 9}}}
    assert "of 9 prompts, and 10 are the fewest" in found(">= 0.5", evaluation, "rouge.rougeL")["why"]
    evaluation["interval"]["rouge.rougeL"]["prompts"] = 10
    assert found(">= 0.5", evaluation, "rouge.rougeL")["passed"]


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("exact_match", "better", "expected `>= NUMBER`"),
        ("change.exact_match", "not worse by 0", "could never be shown"),
        ("change.exact_match", ">= 0.1", "write `not worse by NUMBER`"),
        ("exact_match", "not worse by 0.1", "write change.exact_match"),
        ("change.exact_match", "not worse than x by 0.1", "write exact_match to compare with x"),
        ("exact_match", ">= 1e999", "no finite number"),
    ],
)
def test_what_is_no_gate_is_refused(name, said, why):
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        parse_gate(name, said)


def test_the_program_ends_with_one_and_leaves_no_file_when_a_gate_is_not_kept(tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(report_of(95, 100)))
    for bound, code in (("0.8", 0), ("0.9", 1)):
        (tmp_path / "run.yaml").write_text(json.dumps({"gates": {"exact_match": f">= {bound}"}}))
        words = ["--config", "run.yaml", "--sections", "gates", "--evaluation", "scores.json"]
        done = subprocess.run(
            [sys.executable, SCRIPT, *words, "--metrics", f"{bound}.json"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert (tmp_path / f"{bound}.json").exists() == (code == 0)
    assert "FAILED  exact_match >= 0.9: cannot decide" in done.stdout
    assert "error: 1 of 1 gates of run.yaml are not kept: exact_match >= 0.9: cannot decide" in done.stderr
