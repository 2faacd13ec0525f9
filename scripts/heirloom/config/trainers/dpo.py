"""`trainer: dpo`."""

from heirloom.config.trainers.spec import TrainerSpec

DPO = TrainerSpec(
    name="dpo",
    title="preference tuning against a reference model",
    script="scripts/dpo_train.py",
    arguments_class="trl.DPOConfig",
    row_kinds=("preference",),
    held_out=(
        *("loss", "entropy", "mean_token_accuracy"),
        *("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"),
        *("logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected"),
    ),
    collators=("rl_dynamic_padding_only",),
)
