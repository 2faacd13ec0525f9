"""`trainer: dpo`."""

from heirloom.config.trainers.spec import TrainerSpec

DPO = TrainerSpec(
    name="dpo",
    title="preference tuning against a reference model",
    script="scripts/dpo_train.py",
    arguments_class="trl.DPOConfig",
    row_kinds=("preference",),
    collators=("rl_dynamic_padding_only",),
)
