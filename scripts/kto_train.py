"""Tune a model to answers that were judged good or bad (KTO): TRL's KTOTrainer on pre-tokenized answers.

    python scripts/launch.py torchrun scripts/kto_train.py --config config/runs/judged.yaml --sections training \\
        --dataset data/processed/judged --base checkpoints/demo-sft --deepspeed config/deepspeed/zero2.json \\
        --output checkpoints/judged --metrics metrics/training/judged.json --loss metrics/loss/judged.csv

In: a processed dataset of kind labelled, or pairs, of which each makes two rows; a model with its tokenizer, which is
also the reference model, or what it gives the rows (--reference_scores, of scripts/score_reference.py).
Out: a checkpoint, held-out loss and rewards before and after, the loss by step.
Ethayarajh et al., 2024, "KTO: Model Alignment as Prospect Theoretic Optimization" (https://arxiv.org/abs/2402.01306).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import KTOConfig
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from heirloom import stage
from heirloom.config.trainers.kto import KTO
from heirloom.training.batches.preference_collators import pair_collator
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.inputs.reference_scores import with_reference_scores
from heirloom.training.inputs.single_answers import class_weights, single_answers
from heirloom.training.inputs.training_command import read_command
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.fused_output import FusedOutput
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.trainers.kto import PretokenizedKTOTrainer


def main() -> None:
    command = read_command(__doc__, KTO, KTOConfig)
    data, tokenizer = load_inputs(command)
    weights = class_weights(data.train, command.training.passed_through)
    scored = command.reference_scores is not None
    own = {"max_length": None, "remove_unused_columns": False, "precompute_ref_log_probs": scored, **weights}
    args, model = arguments_and_model(KTOConfig, command, data, **own)
    if args.disable_dropout:
        disable_dropout(model)  # the trainer knows layers of dropout alone
    data = single_answers(data, args)
    reference = None  # the model itself, with its adapter switched off
    if scored:
        data = with_reference_scores(data, command.reference_scores, "kto")
    elif command.peft is None:
        reference = load_model(command)

    lifecycle = Lifecycle(command, **weights)
    with making_trainer():
        trainer = PretokenizedKTOTrainer(
            **lifecycle.shared_arguments(model, args, data, tokenizer),
            ref_model=reference,
            data_collator=pair_collator(DataCollatorForUnpairedPreference, command, tokenizer),
            peft_config=lora_config(command.peft, model),
        )
    trainer.add_callback(FusedOutput())
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
