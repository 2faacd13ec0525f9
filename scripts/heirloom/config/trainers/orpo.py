"""`trainer: orpo`."""

from heirloom.config.trainers.spec import TrainerSpec

ORPO = TrainerSpec(
    name="orpo",
    title="preference tuning without a reference model",
    script="scripts/orpo_train.py",
    arguments_class="heirloom.training.trainers.orpo.ORPOConfig",
    row_kinds=("preference",),
    collators=("rl_dynamic_padding_only",),
)
