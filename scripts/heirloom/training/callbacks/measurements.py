"""What an execution's own steps took, for the estimates of the next plan: it goes into the record, into no artifact."""

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.distributed import gathered, is_main_rank, on_cpu
from heirloom.records.measured import MEASURED
from heirloom.training.callbacks.model_flops import Utilization


class Measurements(TrainerCallback):
    """Counts steps, tokens and seconds from the first step of this process on, which may resume a training."""

    def __init__(self) -> None:
        self.began: tuple[float, int, int] | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.began is None:
            self.began = time.monotonic(), state.global_step, state.num_input_tokens_seen

    def leave(self, state: TrainerState, utilization: Utilization | None) -> None:
        """Write them into the launcher's work folder, if there is one and a step was taken. Every rank calls this.

        `training_s` has all from the first step to the last, held-out rows and checkpoints too; `gpu_gib` is the most
        that torch's allocator has reserved on any GPU.
        """
        peak = 0 if on_cpu() else max(gathered(torch.cuda.max_memory_reserved()))
        folder = os.environ.get("HEIRLOOM_WORK_DIR")
        if self.began is None or folder is None or not is_main_rank():
            return
        started, step, seen = self.began
        seconds, steps, tokens = (
            time.monotonic() - started,
            state.global_step - step,
            state.num_input_tokens_seen - seen,
        )
        found = {"steps": steps, "tokens": int(tokens), "training_s": round(seconds, 2)}
        if peak:
            found["gpu_gib"] = round(peak / 2**30, 2)
        if utilization is not None and tokens:
            found["mfu"] = round(utilization.mfu(tokens / steps, tokens / seconds), 4)
        Path(folder, MEASURED).write_text(json.dumps(found), encoding="utf-8")
