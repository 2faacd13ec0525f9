"""`trainer: orpo`."""

from heirloom.config.trainers.spec import TrainerSpec

ORPO = TrainerSpec(
    name="orpo",
    title="preference tuning without a reference model",
    script="scripts/orpo_train.py",
    arguments_class="heirloom.training.trainers.orpo.ORPOConfig",
    row_kinds=("preference",),
    held_out=(
        *("loss", "nll_loss", "log_odds_ratio", "log_odds_chosen"),
        *("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"),
        *("logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected"),
    ),
    collators=("rl_dynamic_padding_only",),
)
