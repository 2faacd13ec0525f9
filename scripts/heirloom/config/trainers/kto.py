"""`trainer: kto`."""

from heirloom.config.trainers.spec import TrainerSpec

KTO = TrainerSpec(
    name="kto",
    title="preference tuning on single answers, each judged good or bad",
    script="scripts/kto_train.py",
    arguments_class="trl.KTOConfig",
    row_kinds=("labelled", "preference"),
    held_out=(
        *("loss", "kl", "entropy", "rewards/chosen", "rewards/rejected", "rewards/margins"),
        *("logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected"),
    ),
    collators=("rl_dynamic_padding_only",),
)
