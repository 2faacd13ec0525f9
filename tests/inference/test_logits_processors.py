"""Sampling draws from the right distribution, and each row from its own stream."""

import pytest
import torch

from heirloom.inference.logits_processors import sampling_processors

PROBABILITIES = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05, 0.0])
DRAWS = 4000


def draw(options: dict, seeds: list[str]) -> torch.Tensor:
    """Return one token for each seed."""
    scores = PROBABILITIES.log().expand(len(seeds), -1)
    return sampling_processors(options, seeds)(torch.zeros(len(seeds), 1, dtype=torch.long), scores).argmax(-1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0, "top_k": 0, "top_p": 1.0}, [0.4, 0.3, 0.15, 0.1, 0.05, 0.0]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0, 0, 0]),
        ({"top_p": 0.65}, [4 / 7, 3 / 7, 0, 0, 0, 0]),
        ({"min_p": 0.3}, [8 / 17, 6 / 17, 3 / 17, 0, 0, 0]),
        ({"temperature": 0.5}, [0.5614, 0.3158, 0.0789, 0.0351, 0.0088, 0.0]),  # squares, normalised
    ],
)
def test_tokens_are_drawn_with_their_probabilities(options, expected):
    tokens = draw(options, [f"0/row {index}" for index in range(DRAWS)])
    shares = torch.bincount(tokens, minlength=6) / DRAWS
    wanted = torch.tensor(expected)
    standard_error = (wanted * (1 - wanted) / DRAWS).sqrt()
    assert bool(((shares - wanted).abs() <= 4.5 * standard_error + 1e-4).all()), shares
    assert bool((shares[wanted == 0] == 0).all())


def test_a_row_draws_the_same_in_any_batch():
    seeds = [f"3/row {index}" for index in range(64)]
    together = draw({}, seeds)
    alone = torch.cat([draw({}, [seed]) for seed in seeds])
    assert together.tolist() == alone.tolist()
    assert together.tolist() != draw({}, [f"4/row {index}" for index in range(64)]).tolist()


def test_exactly_one_token_is_left():
    scores = sampling_processors({}, ["a", "b"])(torch.zeros(2, 1, dtype=torch.long), PROBABILITIES.log().expand(2, -1))
    assert torch.isfinite(scores).sum(-1).tolist() == [1, 1]
