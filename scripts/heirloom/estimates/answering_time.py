"""How long answers and scores take on a GPU before they have run once.

A token of an answer needs all weights once more, so a step of a batch takes at least their bytes divided by the
memory's bandwidth, and at least the time that Python and the start of kernels take in each block. Prompts and
scores are forward passes, whose operations take the share of the peak that trainings have.
"""

import math
from dataclasses import dataclass

from heirloom.config.arguments.instance_types import Instance
from heirloom.estimates.duration import UTILIZATION, Duration
from heirloom.estimates.model_flops import peak_flops
from heirloom.estimates.model_shape import ModelShape

BANDWIDTH = {
    ("A100", 40): 1555e9,  # glennklockwood.com/garden/processors/A100
    ("A100", 80): 2039e9,  # the same
    ("H100 80GB HBM3", 80): 3350e9,  # acecloud.ai/blog/nvidia-b200-vs-h200-h100-a100
    ("H200", 141): 4800e9,  # the same
    ("B200", 180): 8000e9,  # the same
    ("A10G", 24): 600e9,  # genai4a11.github.io/concepts/hardware.html
    ("L4", 24): 300e9,  # the same
    ("L40S", 48): 864e9,  # the same
    ("V100-SXM2", 16): 900e9,  # ozyphus.github.io/gpu-maths.html
    ("V100-SXM2", 32): 900e9,
}
"""Card and its GiB → bytes a second of its memory; pages read on 2026-11-29."""
LENGTHS = (0.25, 0.6, 1.0)
"""Share of `max_new_tokens` that the longest answer of a batch has: low, expected, high. Assumed."""
READING = (0.8, 0.6, 0.4)
"""Share of the bandwidth that reading weights has: low, expected, high. Assumed, not seen."""
A_BLOCK = (0.0005, 0.001, 0.002)
"""Seconds that one block of a step takes at least, for Python and the start of its kernels. Assumed, not seen."""
SOURCE = "the memory's bandwidth and the GPUs' peak"


@dataclass(frozen=True)
class Answers:
    """Prompts, with how often each is answered; their mean tokens, and the most of an answer; answers at a time."""

    prompts: int
    tokens: float
    longest: int
    batch: int


def answering_time(shape: ModelShape, d: int, asked: Answers, instance: Instance, ranks: int) -> Duration | None:
    """Return how long it takes to answer, each rank with the whole model, d bytes a weight; None for an unknown card.

    Prompts are one pass, answers a token a step, whose log-probability is kept (inference/completion_logprobs.py).
    """
    bandwidth = BANDWIDTH.get((instance.card, instance.card_memory))
    peak = peak_flops(instance.card)
    if bandwidth is None or peak is None:
        return None
    here = math.ceil(asked.prompts / ranks)
    batches = math.ceil(here / asked.batch)
    found = []
    for length, read, block, share in zip(LENGTHS, READING, A_BLOCK, reversed(UTILIZATION), strict=True):
        answer = asked.longest * length
        step = max(shape.parameters * d / (bandwidth * read), shape.layers * block)
        passes = here * asked.tokens * shape.flops().forward_per_token(asked.tokens) / (peak * share)
        found.append(batches * answer * step + passes)
    return Duration(*found, SOURCE)


def scoring_time(
    shape: ModelShape, rows: int, tokens: float, models: int, instance: Instance, ranks: int
) -> Duration | None:
    """Return how long forward passes of `models` over rows of so many tokens take; None for an unknown card."""
    peak = peak_flops(instance.card)
    if peak is None:
        return None
    operations = models * math.ceil(rows / ranks) * tokens * shape.flops().forward_per_token(tokens)
    return Duration(*(operations / (peak * share) for share in reversed(UTILIZATION)), SOURCE)
