"""`trainer: reward`."""

from heirloom.config.trainers.spec import TrainerSpec

REWARD = TrainerSpec(
    name="reward",
    title="a reward model: one number a text, from pairs",
    script="scripts/reward_train.py",
    arguments_class="trl.RewardConfig",
    row_kinds=("preference",),
    held_out=("loss", "accuracy", "margin", "min_reward", "mean_reward", "max_reward"),
    collators=("rl_dynamic_padding_only",),
    scores=True,
)
