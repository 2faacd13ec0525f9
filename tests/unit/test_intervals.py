"""Intervals over prompts: the same at each call, as wide as theory says, and paired where two runs are compared."""

import math
import random

import numpy
import pytest

from heirloom.errors import HeirloomError
from heirloom.evaluation.intervals import RESAMPLES, Statistic, interval, resampled, score_interval, sign_test
from heirloom.evaluation.scores import Scores, score_report

PROMPTS = [f"t:{index}" for index in range(400)]
VALUES = [random.Random(index).random() for index in range(400)]


def interval_of(statistic: Statistic) -> dict[str, float]:
    return interval(resampled({"score": statistic})["score"])


def test_an_interval_holds_the_mean_and_is_as_wide_as_the_standard_error_says():
    statistic = Statistic.mean(PROMPTS, VALUES)
    assert statistic.value == pytest.approx(numpy.mean(VALUES))
    found = interval_of(statistic)
    assert found["low"] < statistic.value < found["high"]
    width = 2 * 1.96 * numpy.std(VALUES) / math.sqrt(len(VALUES))
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.1)
    assert interval_of(statistic) == found


def test_an_interval_is_made_of_percentiles():
    draws = resampled({"score": Statistic.mean(PROMPTS, VALUES)})["score"]
    assert len(draws) == RESAMPLES
    assert list(interval(draws).values()) == pytest.approx(numpy.percentile(draws, [2.5, 97.5]))


def reported(statistic: Statistic) -> dict[str, float] | None:
    """Return the interval that the metrics file gets."""
    return score_interval(statistic, resampled({"score": statistic})["score"])


def test_a_share_has_the_interval_of_wilson_even_where_all_rows_are_alike():
    """128 of 128 is no certainty; values of R's prop.test(correct = FALSE)."""
    for right, of, low, high in (
        (128, 128, 0.97086, 1),
        (0, 128, 0, 0.02914),
        (5, 5, 0.56552, 1),
        (7, 10, 0.39678, 0.89221),
    ):
        found = reported(Statistic.mean(PROMPTS[:of], [True] * right + [False] * (of - right)))
        assert found == pytest.approx({"low": low, "high": high, "prompts": of}, abs=1e-5)
    several = Statistic.mean([prompt for prompt in PROMPTS[:5] for _ in range(3)], [1.0] * 15)
    assert reported(several) == pytest.approx({"low": 0.56552, "high": 1, "prompts": 5}, abs=1e-5)


def test_a_score_that_never_varies_has_no_interval():
    assert reported(Statistic.mean(PROMPTS, [0.7] * 400)) is None
    assert reported(Statistic.mean(PROMPTS[:1], [0.25])) is None
    assert "interval" not in score_report(Scores({("rouge", "rougeL"): Statistic.mean(PROMPTS[:1], [0.25])}), None)


def test_a_change_of_shares_tells_gained_and_lost_prompts():
    """Agresti & Min by hand: half a pair in each cell, so 9.5 gain and 2.5 lose of 22."""
    run = Scores({("exact_match",): Statistic.mean(PROMPTS[:20], [1] * 9 + [0] * 2 + [1] * 9)})
    base = Scores({("exact_match",): Statistic.mean(PROMPTS[:20], [0] * 9 + [1] * 2 + [1] * 9)})
    change = score_report(run, base)["change"]["exact_match"]
    assert change == pytest.approx(
        {"difference": 0.35, "low": 0.03968, "high": 0.59669, "gained": 9, "lost": 2, "prompts": 20}, abs=1e-4
    )
    same = score_report(run, run)["change"]["exact_match"]
    assert same["low"] < same["difference"] == 0 < same["high"]


def test_the_sign_test_is_exact():
    """Both tails of the binomial distribution, added up in whole numbers."""
    assert [sign_test(*split) for split in ((6, 0), (5, 0), (0, 1), (0, 0))] == pytest.approx([0.03125, 0.0625, 1, 1])
    for gained, lost in ((9, 2), (60, 38), (400, 500)):
        tail = sum(math.comb(gained + lost, less) for less in range(min(gained, lost) + 1))
        assert sign_test(gained, lost) == pytest.approx(2 * tail / 2 ** (gained + lost))


def test_samples_of_a_prompt_stay_together():
    """Four equal samples of each prompt tell no more than one; as prompts of their own, they would seem to."""
    four = [prompt for prompt in PROMPTS for _ in range(4)]
    values = [value for value in VALUES for _ in range(4)]
    together = Statistic.mean(four, values)
    assert together.value == pytest.approx(numpy.mean(VALUES))
    assert interval_of(together) == pytest.approx(interval_of(Statistic.mean(PROMPTS, VALUES)))
    apart = interval_of(Statistic.mean([f"{index}" for index in range(1600)], values))
    width = interval_of(together)["high"] - interval_of(together)["low"]
    assert apart["high"] - apart["low"] == pytest.approx(width / 2, rel=0.15)


def test_the_mean_is_over_rows_where_prompts_have_unequal_numbers_of_samples():
    assert Statistic.mean(["a", "a", "a", "b"], [1.0, 1.0, 1.0, 0.0]).value == 0.75


def report_of(run: Statistic, base: Statistic) -> dict:
    return score_report(Scores({("rouge", "rougeL"): run}), Scores({("rouge", "rougeL"): base}))


def test_a_change_is_paired_by_prompt_whatever_the_order():
    run = Statistic.mean(PROMPTS, [value + 0.125 for value in VALUES])
    report = report_of(run, Statistic.mean(PROMPTS[::-1], VALUES[::-1]))
    change = report["change"]["rouge.rougeL"]
    assert change == pytest.approx({"difference": 0.125, "prompts": 400})  # it never varies
    wide = report["interval"]["rouge.rougeL"]
    assert wide["high"] - wide["low"] > 0.05
    assert report["rouge"]["rougeL"] == pytest.approx(report["base"]["rouge"]["rougeL"] + 0.125)


def test_a_difference_of_noise_has_zero_in_its_interval():
    other = [random.Random(index + 1000).random() for index in range(400)]
    change = report_of(Statistic.mean(PROMPTS, VALUES), Statistic.mean(PROMPTS, other))["change"]["rouge.rougeL"]
    assert change["low"] < 0 < change["high"]
    assert change["low"] < change["difference"] < change["high"]


def test_scores_on_other_prompts_are_not_compared():
    with pytest.raises(HeirloomError, match="the prompt t:3 was scored for only one of the two runs"):
        report_of(Statistic.mean(PROMPTS[:3], VALUES[:3]), Statistic.mean(PROMPTS[:4], VALUES[:4]))


def test_without_a_base_there_is_no_change():
    report = score_report(Scores({("bleu",): Statistic.mean(PROMPTS, VALUES)}, {("answers",): 400}), None)
    assert report.keys() == {"answers", "bleu", "interval"}
