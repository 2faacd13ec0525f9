"""`trainer: grpo`."""

from heirloom.config.trainers.spec import TrainerSpec

GRPO = TrainerSpec(
    name="grpo",
    title="reinforcement learning: rewards of answers beside others to the same prompt",
    script="scripts/grpo_train.py",
    arguments_class="trl.GRPOConfig",
    row_kinds=("chat",),
    collators=("dynamic_padding_only",),
    rewarded=True,
)
