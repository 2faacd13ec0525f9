"""Passes add up to one step in float32, also where the model is of 16 bits."""

from training_workplace import ROOT, Workplace

SHARING = ("zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")
"""All but zero0, under which DeepSpeed refuses it, and zero3_nvme, which needs a drive."""


def test_small_gradients_are_not_lost_in_a_large_one(tmp_path):
    """256 + 14 in bfloat16 is 256, one by one; a sixteenth of the sum is the weight after a step."""
    files = [str(ROOT / "config" / "deepspeed" / f"{name}.json") for name in SHARING]
    said = Workplace(tmp_path).torchrun("accumulated_gradients.py", files).splitlines()
    assert [line for line in said if line.startswith("zero")] == [f"{name}: -16.875" for name in SHARING]
