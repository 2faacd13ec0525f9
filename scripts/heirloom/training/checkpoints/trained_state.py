"""The trained weights with what proves them: taken from the trainer, or kept on the disk until the training ends."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Trainer

from heirloom.distributed import is_main_rank
from heirloom.errors import HeirloomError
from heirloom.training.checkpoints.adapter_saving import adapter_weights, has_adapter
from heirloom.training.checkpoints.checkpoint_check import Probe, plain_model, probe

FILE = "state.pt"


@dataclass(frozen=True)
class TrainedState:
    """A model at one step of its training."""

    weights: dict[str, torch.Tensor]
    """By name, tied ones once; an adapter's alone where one is trained. Empty on all ranks but the main one."""
    probe: Probe
    """A row, and the logits that the model had for it."""


def trained_state(trainer: Trainer) -> TrainedState:
    """Return the trainer's model as it is now. Every rank calls this: under ZeRO-3 each holds a part of the weights.

    Raises HeirloomError when the DeepSpeed configuration forbids to gather them.
    """
    found = probe(trainer)
    return TrainedState(adapter_weights(trainer) if has_adapter(trainer) else gathered_weights(trainer), found)


def keep_state(trainer: Trainer, folder: Path) -> None:
    """Write the model as it is now to a folder that the main rank has made. Every rank calls this."""
    state = trained_state(trainer)
    if is_main_rank():
        probed = {"inputs": state.probe.inputs, "logits": state.probe.logits, "precision": state.probe.precision}
        torch.save({"weights": state.weights, "probe": probed}, folder / FILE)


def kept_state(folder: Path) -> TrainedState:
    """Return what `keep_state` wrote, its weights mapped from the disk; other ranks than the main one have none."""
    content = torch.load(folder / FILE, map_location="cpu", mmap=True, weights_only=True)
    return TrainedState(content["weights"], Probe(**content["probe"]))


def gathered_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return all weights by name on the main rank, tied ones once. Every rank calls this.

    Raises HeirloomError when the DeepSpeed configuration forbids to gather them.
    """
    try:
        if trainer.is_deepspeed_enabled:
            weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        else:  # not by accelerate: it leaves a compiled module around the model, whose weights have other names
            weights = plain_model(trainer).state_dict()
    except ValueError as error:
        raise HeirloomError(
            "the model cannot be gathered from its ranks: set zero_optimization."
            "stage3_gather_16bit_weights_on_model_save to true in the DeepSpeed configuration"
        ) from error
    tied = plain_model(trainer).all_tied_weights_keys
    return {name: tensor for name, tensor in (weights or {}).items() if name not in tied}
