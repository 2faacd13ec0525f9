"""What a DeepSpeed file asks for, as far as it takes memory; absent keys have DeepSpeed's own defaults."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = 500_000_000
"""Default of reduce_bucket_size and allgather_bucket_size (deepspeed/runtime/zero/config.py), elements."""
PREFETCH = 50_000_000
LIVE = 1_000_000_000
"""Defaults of stage3_prefetch_bucket_size and stage3_max_live_parameters."""


@dataclass(frozen=True)
class DeepSpeedSettings:
    """One file; sizes are in elements. Without a file: plain data parallel, whose gradients are all kept."""

    stage: int = 0
    reduce_bucket: int = BUCKET
    prefetch_bucket: int = PREFETCH
    live_parameters: int = LIVE
    contiguous: bool = True
    overlap: bool = False
    optimizer_on: str = "gpu"
    parameters_on: str = "gpu"
    accumulates_in_float32: bool = False
    present: bool = False


def deepspeed_settings(file: Path | None, hidden: int) -> DeepSpeedSettings:
    """Read a DeepSpeed file; "auto" stands for what transformers fills in from the model's hidden size.

    transformers/integrations/deepspeed.py: reduce_bucket_size = hidden², stage3_prefetch_bucket_size = 0.9 hidden².
    """
    if file is None:
        return DeepSpeedSettings()
    return settings_of(json.loads(file.read_text(encoding="utf-8")), hidden)


def settings_of(content: Mapping[str, Any], hidden: int) -> DeepSpeedSettings:
    """Return the same of a file's content."""
    zero = content.get("zero_optimization", {})
    stage = zero.get("stage", 0)

    def size(key: str, default: int, auto: float) -> int:
        value = zero.get(key, default)
        return int(auto if value == "auto" else value)

    def place(key: str) -> str:
        device = (zero.get(key) or {}).get("device", "none")
        return "gpu" if device == "none" else device

    return DeepSpeedSettings(
        stage=stage,
        reduce_bucket=size("reduce_bucket_size", BUCKET, hidden**2),
        prefetch_bucket=size("stage3_prefetch_bucket_size", PREFETCH, 0.9 * hidden**2),
        live_parameters=size("stage3_max_live_parameters", LIVE, LIVE),
        contiguous=zero.get("contiguous_gradients", True),
        overlap=zero.get("overlap_comm", None) if zero.get("overlap_comm") is not None else stage == 3,
        optimizer_on=place("offload_optimizer"),
        parameters_on=place("offload_param"),
        accumulates_in_float32=content.get("data_types", {}).get("grad_accum_dtype") in ("fp32", "float32"),
        present=True,
    )
