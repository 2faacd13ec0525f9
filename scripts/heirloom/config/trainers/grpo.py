"""`trainer: grpo`."""

from heirloom.config.trainers.spec import TrainerSpec

GRPO = TrainerSpec(
    name="grpo",
    title="reinforcement learning: rewards of answers beside others to the same prompt",
    script="scripts/grpo_train.py",
    arguments_class="trl.GRPOConfig",
    row_kinds=("chat",),
    held_out=("reward", "completions/mean_length", "completions/finished"),
    collators=("dynamic_padding_only",),
    rewarded=True,
)
