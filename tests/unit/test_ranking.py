"""What the order of a sweep's settings says, and what it does not."""

import pytest

from heirloom.errors import HeirloomError
from heirloom.report.ranking import rank


def result(value: float, half: float | None = 0.02, prompts: int = 500, metric: str = "exact_match") -> dict:
    interval = {metric: {"low": value - half, "high": value + half, "prompts": prompts}} if half else {}
    return {"evaluation": {metric: value, "interval": interval}}


def ranked(results: dict[str, dict], metric: str = "exact_match", **how) -> list[tuple[list[str], str]]:
    """Rank runs called SETTING-SEED; return (runs, verdict), the best first."""
    configs = {
        name: {"base": "b", "training": {"learning_rate": name[:-1], "seed": int(name[-1])}} for name in sorted(results)
    }
    return [(one.runs, one.verdict) for one in rank(configs, results, metric, **how)]


def test_a_setting_is_worse_only_where_the_intervals_say_so():
    results = {"a1": result(0.80), "b1": result(0.79), "c1": result(0.5), "d1": result(0.6, prompts=5)}
    results |= {"e1": result(0.7, half=None), "f1": result(0.80)}
    assert ranked(results) == [
        (["a1"], "best"), (["f1"], "the same"), (["b1"], "within the noise"), (["e1"], "not judged"),
        (["d1"], "too few prompts"), (["c1"], "worse"),
    ]  # fmt: skip


def test_seeds_are_one_setting_and_their_spread_counts():
    """Over prompts alone 0.80 and 0.70 are apart; two seeds that lie 0.1 apart say that they are not."""
    steady = {"a1": result(0.80), "a2": result(0.80), "b1": result(0.70), "b2": result(0.70)}
    assert ranked(steady) == [(["a1", "a2"], "best"), (["b1", "b2"], "worse")]
    spread = {"a1": result(0.85), "a2": result(0.75), "b1": result(0.75), "b2": result(0.65)}
    assert ranked(spread) == [(["a1", "a2"], "best"), (["b1", "b2"], "within the noise")]


def test_the_direction_is_the_metrics_own():
    results = {"a1": result(9.0, metric="perplexity"), "b1": result(7.0, metric="perplexity")}
    assert ranked(results, "perplexity") == [(["b1"], "best"), (["a1"], "worse")]
    with pytest.raises(HeirloomError, match="GREATER_IS_BETTER=true: less of perplexity is better; leave it out"):
        ranked(results, "perplexity", higher=True)
    trained = {name: {"training": {"after": {"perplexity": value}}} for name, value in {"a1": 9.0, "b1": 7.0}.items()}
    assert ranked(trained, "training.after.perplexity") == [(["b1"], "best"), (["a1"], "not judged")]

    patterns = {name: {"evaluation": {"patterns": {"rude": value}}} for name, value in {"a1": 0.1, "b1": 0.2}.items()}
    with pytest.raises(HeirloomError, match="whether more of patterns.rude is better is not known here"):
        ranked(patterns, "patterns.rude")
    assert ranked(patterns, "patterns.rude", higher=False)[0] == (["a1"], "best")


def test_scores_of_the_harness_and_runs_without_the_score():
    results = {"a1": {"harness": {"task": {"acc": 0.5, "acc_stderr": 0.01}}}, "b1": {"evaluation": {"bleu": 3.0}}}
    assert ranked(results, "task.acc", higher=True) == [(["a1"], "best")]
    with pytest.raises(HeirloomError, match="no run has a score task.ac; did you mean task.acc?"):
        ranked(results, "task.ac")
