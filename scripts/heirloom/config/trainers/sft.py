"""`trainer: sft`."""

from heirloom.config.trainers.spec import TrainerSpec

SFT = TrainerSpec(
    name="sft",
    title="supervised fine-tuning on chats",
    script="scripts/sft_train.py",
    arguments_class="trl.SFTConfig",
    row_kinds=("chat", "text"),
    held_out=("loss", "perplexity"),
    collators=("completion_only", "dynamic_padding_only"),
    packs_rows=True,
)
