"""Measure the steps of a trainer that is about to train: tokens a second, MFU, peak memory."""

import json
import statistics
import time
from pathlib import Path

import torch
from inputs import PAD
from transformers import AutoConfig, LlamaForCausalLM, PreTrainedModel, Trainer, TrainerCallback

from heirloom.estimates.model_flops import ModelFlops, peak_flops
from heirloom.training.callbacks.model_flops import model_flops

WARM_UP = 3
"""Steps that do not count: allocators, autotuning and compilation settle in them."""


class Meter(TrainerCallback):
    """Takes the time of each step and counts the tokens of its batches without padding."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.batches: list[torch.Tensor] = []

    def count(self, trainer: Trainer) -> None:
        """Count what `trainer` trains on from now on; no drawn token is the pad token, so that all others are real."""
        step = trainer.training_step

        def counted(model, inputs, *args, **kwargs):
            self.batches.append((inputs["input_ids"] != PAD).sum())
            return step(model, inputs, *args, **kwargs)

        trainer.training_step = counted
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **kwargs):
        self.last = now()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(now() - self.last)
        self.tokens.append(int(sum(self.batches)))
        self.batches.clear()
        self.last = now()


def now() -> float:
    """Return a time in seconds at which the GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def train_and_measure(trainer: Trainer, method: str, sequence_length: float, file: Path) -> None:
    """Train to the last step; write to `file` what the steps after WARM_UP of them measured.

    `sequence_length` is the mean length of a document, in tokens. The MFU counts attention within documents alone,
    which is the least that the model needs; `method` dpo adds the reference's forward pass
    (heirloom.estimates.model_flops).
    """
    meter = Meter()
    meter.count(trainer)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    if trainer.args.process_index == 0:
        file.write_text(json.dumps(summary(meter, trainer, method, sequence_length)))


def summary(meter: Meter, trainer: Trainer, method: str, sequence_length: float) -> dict:
    seconds, tokens = meter.seconds[WARM_UP:], meter.tokens[WARM_UP:]
    speed = statistics.median(count / took for count, took in zip(tokens, seconds, strict=True))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    result = {
        "tokens_per_s": round(speed),
        "tokens_per_s_of_all_steps": round(sum(tokens) / sum(seconds)),
        "tokens_per_step": round(statistics.mean(tokens)),
        "steps": len(seconds),
        "warm_up_s": round(sum(meter.seconds[:WARM_UP]), 1),
        "last_loss": losses[-1] if losses else None,
    }
    if torch.cuda.is_available():
        result["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        flops = model_flops(trainer.accelerator.unwrap_model(trainer.model))
        peak = peak_flops(torch.cuda.get_device_name())
        if flops is not None and peak is not None:
            flops = ModelFlops(flops.weights, flops.trained, flops.attention, reference=method == "dpo")
            result["mfu"] = round(speed * flops.per_token(sequence_length) / peak, 4)
    return result


def random_model(base: Path, attention: str | None = None) -> PreTrainedModel:
    """Return a bfloat16 model of the shape in `base`, its random weights drawn where it trains, none from a disk."""
    config = AutoConfig.from_pretrained(base)
    torch.manual_seed(0)
    chosen = {"attn_implementation": attention} if attention else {}
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return LlamaForCausalLM._from_config(config, dtype=torch.bfloat16, **chosen)
