"""How well a reward model tells the chosen answers of held-out pairs from the rejected ones, and what misleads it."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from accelerate import PartialState

from heirloom.evaluation.intervals import Statistic
from heirloom.evaluation.likelihoods.preference import read_pairs
from heirloom.evaluation.rewards.reward_model import score_texts
from heirloom.evaluation.scores import Scores

BINS = 10
"""Of probabilities from 0.5 to 1."""


def measure_reward_model(
    checkpoint: Path, dataset: Path, batch_size: int, ranks: PartialState, attention: str | None = None
) -> Scores:
    """Return `accuracy`, `margin`, `calibration_error` and `length_correlation` under `preference`, over pairs.

    accuracy and margin are the share of pairs whose chosen answer has the higher reward, and the mean of chosen minus
    rejected reward; for the others see below. Every rank calls this and gets the same result. Raises HeirloomError as
    `read_pairs` and `score_texts` do.
    """
    pairs = read_pairs(dataset)
    texts = [text for _, *both in pairs for text in both]  # chosen and rejected in turn
    rewards = score_texts(checkpoint, texts, batch_size, ranks, attention)
    lengths = [sum(label >= 0 for label in labels) for _, labels in texts]
    margins = [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
    prompts = [row_id for row_id, _, _ in pairs]
    statistics = {
        "accuracy": Statistic.mean(prompts, [margin > 0 for margin in margins]),
        "margin": Statistic.mean(prompts, margins),
        "calibration_error": calibration_error(prompts, margins),
        "length_correlation": correlation([prompt for prompt in prompts for _ in range(2)], lengths, rewards),
    }
    return Scores({("preference", name): statistic for name, statistic in statistics.items()})


def calibration_error(prompts: Sequence[str], margins: Sequence[float]) -> Statistic:
    """Return how far the model is as often right as it says: the expected calibration error over BINS bins.

    It says sigmoid(|margin|), the probability that the answer of the higher reward is the chosen one (Bradley-Terry).
    Guo et al., 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), eq. 3; 0 is best.
    """
    rows = []
    for margin in margins:
        said = 1 / (1 + math.exp(-abs(margin)))
        bins = [0.0] * BINS
        bins[min(int((said - 0.5) * 2 * BINS), BINS - 1)] = (margin > 0) - said
        rows.append((*bins, 1.0))
    return Statistic.of_rows(prompts, rows, lambda sums: math.fsum(map(abs, sums[:-1])) / sums[-1])


def correlation(prompts: Sequence[str], lengths: Sequence[float], rewards: Sequence[float]) -> Statistic:
    """Return Pearson's correlation of answers' lengths (tokens) and their rewards; 0 where one of the two is constant.

    `prompts`: of each answer the prompt that it belongs to.
    """
    length, reward = fmean(lengths), fmean(rewards)  # taken off first, or digits are lost
    pairs = [(one - length, other - reward) for one, other in zip(lengths, rewards, strict=True)]
    return Statistic.of_rows(prompts, [(1.0, x, y, x * x, y * y, x * y) for x, y in pairs], pearson)


def pearson(sums: Sequence[float]) -> float:
    """Return the correlation from the sums of 1, x, y, x², y² and xy."""
    n, x, y, xx, yy, xy = sums
    spread = max(xx - x * x / n, 0.0) * max(yy - y * y / n, 0.0)
    return (xy - x * y / n) / math.sqrt(spread) if spread > 0 else 0.0
