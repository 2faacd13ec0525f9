"""How long a training takes: from what earlier executions took, else from its operations and a share of the peak."""

from dataclasses import dataclass

from heirloom.estimates.model_flops import ModelFlops, peak_flops

UTILIZATION = (0.20, 0.35, 0.46)
"""Model FLOPs utilization: low, expected, high. The highest is MosaicML's of 7 to 70 billion weights, 2,048 tokens and
8 to 64 H100 (llm-foundry, scripts/train/benchmarking/README.md, read on 2026-11-29: 36 to 46 %); short rows, padding
and ZeRO-3 over several machines cost more, and the lowest is assumed for these."""
START_UP = (120.0, 360.0, 600.0)
"""Seconds until a job of SageMaker's trains: capacity, an image of 8 to 9 GB, libraries, inputs. Assumed, not seen."""
MEASURED = (0.9, 1.0, 1.25)
"""What an earlier execution of the same shape on the same kind of machine takes the next time."""


@dataclass(frozen=True)
class Duration:
    """Seconds: low, expected, high; and where they come from, in a few words."""

    low: float
    expected: float
    high: float
    source: str

    def plus(self, seconds: tuple[float, float, float]) -> "Duration":
        """Return the same with something before it."""
        low, expected, high = seconds
        return Duration(self.low + low, self.expected + expected, self.high + high, self.source)


def from_operations(
    flops: ModelFlops,
    tokens: float,
    length: float,
    gpu: str,
    ranks: int,
    own: tuple[tuple[float, float, float], int] | None = None,
) -> Duration | None:
    """Return how long it takes to train on so many tokens in rows of `length`; None for a GPU of unknown peak.

    `own`: the low, expected and high utilization of own trainings on such machines, and how many they were. They stand
    in place of what others published; the next one may have a tenth less or more.
    """
    peak = peak_flops(gpu)
    if peak is None:
        return None
    at_peak = flops.per_token(length) * tokens / (peak * ranks)
    shares, source = UTILIZATION, ""
    if own is not None:
        (lowest, usual, highest), number = own
        shares, source = (lowest * 0.9, usual, highest * 1.1), f", as {number} own executions had"
    low, expected, high = (at_peak / share for share in reversed(shares))
    return Duration(low, expected, high, f"{shares[0]:.0%} to {shares[2]:.0%} of the GPUs' peak{source}")


def from_record(seconds: float, share: float, source: str) -> Duration:
    """Return how long `share` of what took so many seconds will take."""
    low, expected, high = (seconds * share * factor for factor in MEASURED)
    return Duration(low, expected, high, source)
