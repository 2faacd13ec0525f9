"""Before the first step: whether the finished model can be written at all, which takes main memory at the end."""

from transformers import Trainer

from heirloom.errors import HeirloomError
from heirloom.models.adapters.shard_merging import needs_all_of_the_base
from heirloom.models.weights import bytes_of_weights
from heirloom.training.checkpoints.adapter_saving import has_adapter
from heirloom.training.checkpoints.host_memory import free_memory
from heirloom.training.inputs.base_models import base_folder
from heirloom.training.inputs.training_command import TrainingCommand

ONE_FILE = 2 * 10**9
"""Bytes of the largest file of weights that is written, `heirloom.models.weights.SHARD`."""


def check_memory_for_saving(trainer: Trainer, command: TrainingCommand) -> None:
    """Raise HeirloomError when less main memory is free than saving takes at the least. For the main rank alone.

    Else the kernel would kill it when all steps are done, and again after each restart.
    """
    need, what = need_of_saving(trainer, command)
    free = free_memory()
    if need > free:
        raise HeirloomError(
            f"the trained model could not be saved: {what} takes {need / 1e9:,.2f} GB of main memory on the first "
            f"host, and {free / 1e9:,.2f} GB are free: take a machine with more (resources.instance_type; Slurm: "
            "mem_mb), or end what else runs there"
        )


def need_of_saving(trainer: Trainer, command: TrainingCommand) -> tuple[int, str]:
    """Return how many bytes of main memory saving takes at the least, beside the model in training, and for what."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if has_adapter(trainer):
        if not command.peft.merge:
            return 0, "writing the adapter"
        base = base_folder(command)
        size = bytes_of_weights(base)
        if reason := needs_all_of_the_base(base, model):
            return size, f"merging the adapter into all of {command.base} at once ({reason})"
        return min(size, ONE_FILE), f"merging the adapter into {command.base}, file by file,"
    if not trainer.is_deepspeed_enabled:
        return 0, "writing the model"
    narrow = trainer.args.bf16 or trainer.args.fp16  # DeepSpeed keeps the weights in 16 bits then
    widths = [(getattr(each, "ds_numel", each.numel()), each.element_size()) for each in model.parameters()]
    return sum(count * min(width, 2 if narrow else width) for count, width in widths), "gathering the model"
