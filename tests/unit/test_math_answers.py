"""The reward and metric math_verify: what is equal, what an answer cannot do, and that each comparison ends."""

import os
import resource
import signal
from importlib import util
from types import SimpleNamespace

import pytest

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.config.sections.training import Reward
from heirloom.errors import HeirloomError
from heirloom.evaluation import math_answers
from heirloom.evaluation.answer_scores import score_answers
from heirloom.evaluation.win_rate import win_rate
from heirloom.training.rewards.functions import rewards_of
from pipeline.session import packages_here

pytest.importorskip("math_verify")


@pytest.fixture(scope="module")
def reward():
    (function,) = rewards_of([Reward(function="math_verify")], 8).functions
    return lambda *pairs: function([{"reference": one, "completion": other} for one, other in pairs])


def test_what_means_the_same_is_the_same(reward):
    right = [(r"$\frac12$", r"So \boxed{0.5}"), ("42", r"It is $42$."), (r"\boxed{x^2+2x+1}", "$(x+1)^2$")]
    right += [("1/2", r"$x = \frac{1}{2}$"), (r"so \boxed{\sqrt{8}}", r"$x^2 = 8$, so \boxed{2\sqrt{2}}"), ("42", "42")]
    wrong = [
        ("1/2", r"$\frac13$"),
        ("", r"\boxed{2}"),
        ("2", ""),
        ("2", "It is 2."),
        ("2", r"\boxed{\frac{}"),
        ("2", "é" * 9),
        ("no", "on"),
        ("ABD", "BDA"),
        ("I think so", "I think so"),
    ]
    assert reward(*right) == [1.0] * len(right)
    assert reward(*wrong) == [0.0] * len(wrong)


def test_an_answer_is_never_executed(reward, tmp_path):
    mark = tmp_path / "executed"
    code = f"__import__('os').system('touch {mark}')"
    hostile = [code, f"${code}$", rf"\boxed{{{code}}}", rf"$\text{{{code}}}$", rf"\boxed{{\mathrm{{{code}}}}}"]
    assert reward(*(("2", text) for text in hostile), *((text, "$2$") for text in hostile)) == [0.0] * 10
    assert not mark.exists()


def test_an_answer_that_costs_too_much_is_none_and_the_next_one_is_compared(reward):
    def used() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_utime

    hostile = [r"\boxed{9^{9^{9^9}}}", r"\boxed{" + "(" * 3000 + "1" + ")" * 3000 + "}", r"\boxed{" * 500, "$" * 40_000]
    began = used()
    assert reward(*(("2", text) for text in hostile), ("2", "$2$")) == [0.0] * 4 + [1.0]
    assert used() - began < 1  # its own process has spent it


def test_what_stops_a_training_leaves_it_the_answers_that_it_compares(reward):
    """A signal to all processes of a step ended this one, and with it the training before its checkpoint."""
    answers = math_answers.MathAnswers()
    row = {"reference": "2", "completion": "$2$"}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert answers([row]) == [1.0]
        answers.worker.send_signal(number)
    assert answers([row]) == [1.0]
    answers.worker.stdin.close()
    assert answers.worker.wait() == 0


def test_a_process_that_is_gone_is_told(reward):
    answers = math_answers.MathAnswers()
    row = {"reference": "2", "completion": "$2$"}
    assert answers([row]) == [1.0]
    os.kill(answers.worker.pid, 9)
    answers.worker.wait()
    with pytest.raises(HeirloomError, match=r"math_verify: its process ended \(-9\) beside '\$2\$': run `python -P "):
        answers([row])


def test_a_missing_package_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setattr(math_answers, "find_spec", lambda name: None if name == "math_verify" else util.find_spec(name))
    with pytest.raises(HeirloomError) as refused:
        rewards_of([Reward(function="math_verify")], 8)
    assert "training.rewards[0].function: math_verify needs the package math-verify, which is not" in str(refused.value)


def test_the_plan_tells_that_the_package_is_missing(monkeypatch):
    rewards = [Reward(function="length"), Reward(function="math_verify")]
    run = SimpleNamespace(path="config/runs/sums.yaml", training=SimpleNamespace(rewards=rewards))
    ledger = SimpleNamespace(
        graph=SimpleNamespace(stages={"rewards-sums": SimpleNamespace(kind="rewards", run="sums")}),
        project=SimpleNamespace(runs={"sums": run}),
        to_do_or_to_follow=lambda: ["rewards-sums"],
    )
    packages_here.check_math_verify_here(ledger)
    here = {"torch"}
    for asking in (packages_here, math_answers):
        monkeypatch.setattr(asking, "find_spec", lambda name: name if name in here else None)
    with pytest.raises(HeirloomError) as refused:
        packages_here.check_math_verify_here(ledger)
    assert str(refused.value).startswith(
        "rewards-sums: config/runs/sums.yaml: training.rewards[1].function: math_verify needs the package math-verify, "
    )
    here.clear()
    packages_here.check_math_verify_here(ledger)  # the light environment executes no such stage


@pytest.mark.parametrize(
    ("kind", "metrics", "win_by", "keys"),
    [
        ("evaluate", ["math_verify"], "math_verify", ["evaluation.metrics", "evaluation.win_by"]),
        ("evaluate", ["exact_match"], "rouge", []),
        ("generate", ["math_verify"], "math_verify", []),
    ],
)
def test_the_plan_asks_for_the_package_where_answers_are_scored_by_it(kind, metrics, win_by, keys):
    run = SimpleNamespace(training=None, evaluation=SimpleNamespace(metrics=metrics, win_by=win_by))
    assert list(packages_here.places_of_math_verify(run, kind)) == keys


def test_it_is_a_metric_and_decides_who_wins():
    pairs = [("$\\frac12$", "\\boxed{0.5}"), ("42", "$43$"), ("$x+1$", "So $1+x$.")]
    rows = [
        {"row_id": f"t:{number}", "sample": 0, "reference": reference, "completion": completion}
        for number, (reference, completion) in enumerate(pairs)
    ]
    section = EvaluationSection(metrics=["math_verify"], against=["other"], win_by="math_verify")
    scores = score_answers(section, rows)
    assert scores.nested() == {"answers": 3, "math_verify": 2 / 3}
    silent = [row | {"completion": ""} for row in rows]
    assert win_rate(section, rows, silent, "other")["wins"] == 2
    rows[1]["reference"] = "It is 42."
    with pytest.raises(
        HeirloomError, match=r"^evaluation\.metrics: math_verify cannot read 1 of 3 references, first in t:1: "
    ):
        score_answers(section, rows)
