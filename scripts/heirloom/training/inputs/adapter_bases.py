"""A training that starts from an adapter: each host puts it and its base together once, and loads that as any base.

So quantized loading, ZeRO-3's sharding and reading straight to a GPU are those of a whole model, and what is learned
is what would be learned on the merged checkpoint, bit for bit. The folder lies beside the output, which has the disk of
the inputs (work in progress may be copied to S3), and is gone when the training ends.
"""

from transformers import TrainingArguments
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from heirloom.artifacts import remove
from heirloom.distributed import barrier, is_first_rank_of_host
from heirloom.models.adapters.putting_together import write_whole_model
from heirloom.models.trained_checkpoints import is_adapter
from heirloom.training.inputs.base_models import base_folder
from heirloom.training.inputs.training_command import TrainingCommand


def put_base_together(command: TrainingCommand, args: TrainingArguments) -> None:
    """Write the whole base of a training on an adapter; nothing happens on a whole model. Every rank calls this.

    Raises HeirloomError when adapter or base is damaged, or the base another one.
    """
    if not is_adapter(command.base):
        return
    if is_first_rank_of_host():
        folder = base_folder(command)
        remove(folder)
        folder.mkdir(parents=True)
        unset_hf_deepspeed_config()  # or ZeRO-3 would wait for the other ranks to load it in parts
        write_whole_model(command.base, folder)
        if (settings := getattr(args, "hf_deepspeed_config", None)) is not None:  # without DeepSpeed there is none
            set_hf_deepspeed_config(settings)
    barrier()


def remove_base(command: TrainingCommand) -> None:
    """Delete what `put_base_together` wrote on this host."""
    if is_adapter(command.base) and is_first_rank_of_host():
        remove(base_folder(command))
