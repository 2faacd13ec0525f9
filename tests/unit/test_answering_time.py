"""How long answers and scores take on cards that nobody has here: by hand, for Llama 3 8B."""

import pytest

from heirloom.config.arguments.instance_types import INSTANCES
from heirloom.estimates.answering_time import Answers, answering_time, scoring_time
from heirloom.estimates.model_shape import model_shape

LLAMA = model_shape(
    {"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
     "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
)  # fmt: skip
A100, L4 = INSTANCES["p4d.24xlarge"], INSTANCES["g6.48xlarge"]


def test_answers_wait_for_kernels_on_a_fast_card_and_for_memory_on_a_slow_one():
    """100 prompts on 8 ranks are 13 a rank, two batches of at most 8, and 38.4 tokens until a batch's longest ends."""
    asked = Answers(100, tokens=50, longest=64, batch=8)
    forward = 2 * (LLAMA.parameters - LLAMA.embedding)  # a token's operations, but for attention, 0.1 % here
    passes = 13 * 50 * forward / 0.35
    found = answering_time(LLAMA, 2, asked, A100, 8)
    assert found.expected == pytest.approx(2 * 38.4 * 32 * 0.001 + passes / 312e12, rel=0.01)
    slow = answering_time(LLAMA, 2, asked, L4, 8)
    assert slow.expected == pytest.approx(2 * 38.4 * 8_030_261_248 * 2 / (300e9 * 0.6) + passes / 121e12, rel=0.01)
    assert found.low < found.expected < found.high and slow.low < slow.expected < slow.high
    assert found.expected < slow.expected
    assert answering_time(LLAMA, 2, asked, INSTANCES["g4dn.xlarge"], 1) is None  # a T4's peak is not in the table


def test_scores_are_forward_passes():
    found = scoring_time(LLAMA, 800, 1000, 2, A100, 8)
    per_token = 2 * (LLAMA.parameters - LLAMA.embedding) + 4 * 32 * 4096 * 1000
    assert found.expected == pytest.approx(2 * 100 * 1000 * per_token / 312e12 / 0.35, rel=1e-6)
