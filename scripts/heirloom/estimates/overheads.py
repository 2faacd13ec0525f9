"""What a GPU holds beside a model's tensors. No CPU can show it: each constant names where it was read."""

GIB = 2**30

CONTEXT = 0.5 * GIB
"""CUDA's context with torch's kernels. In out-of-memory messages it is what "this process has … in use" exceeds
"allocated" and "reserved but unallocated" by: 0.49 GiB on an A100 of 40 GB (github.com/TianheWu/CoSeR issue 10), 0.49
and 0.39 on 80 GB (lianqi1008/Control-GIC issue 6, HiDream-ai/VAREdit issue 6), read on 2026-11-29."""
COMMUNICATION = 0.5 * GIB
"""NCCL's buffers where several ranks train together: NCCL_BUFFSIZE (4 MiB, NCCL's documentation) for each channel,
direction and peer of a ring; 32 channels, both directions, two communicators. Assumed, not seen."""
FRAGMENTED = 0.04
"""Share that torch's allocator has reserved and cannot give out. In the same messages 0.2 to 0.9 GiB of 9 to 16."""
WITH_GDDR6 = ("T4", "A10G", "L4", "L40S")
TIGHT = 0.90
"""A stage that takes more of a card is told to be tight: the formulas are within a tenth."""


def with_overheads(tensors: float, ranks: int) -> float:
    """Return the bytes that a card must have free for a peak of so many bytes of tensors."""
    return tensors * (1 + FRAGMENTED) + CONTEXT + (COMMUNICATION if ranks > 1 else 0)


def usable(card: str, memory: float) -> float:
    """Return the bytes that CUDA gives of the GiB which a card is sold with.

    An A100 of 40 GB tells 39.50 GiB, one of 80 GB 79.25 (the same messages), a T4 of 16 GB 14.75
    (github.com/FoundationVision/GenerateU issue 10): where memory is GDDR6, error correction takes a sixteenth of it.
    """
    return memory * GIB * (15 / 16 if card in WITH_GDDR6 else 0.9875)
