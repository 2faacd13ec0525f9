"""`trainer: rloo`."""

from heirloom.config.trainers.spec import TrainerSpec

RLOO = TrainerSpec(
    name="rloo",
    title="reinforcement learning: rewards of whole answers, less the mean of the others to the same prompt",
    script="scripts/rloo_train.py",
    arguments_class="trl.RLOOConfig",
    row_kinds=("chat",),
    held_out=("reward", "completions/mean_length", "completions/finished"),
    collators=("dynamic_padding_only",),
    rewarded=True,
)
