"""Tune a model to preferences (DPO): TRL's DPOTrainer on pre-tokenized pairs.

    python scripts/launch.py torchrun scripts/dpo_train.py --config config/demo/runs/demo-dpo.yaml \\
        --sections training --dataset data/processed/demo-preferences --base checkpoints/demo-sft \\
        --deepspeed config/deepspeed/zero2.json --output checkpoints/demo-dpo \\
        --metrics metrics/training/demo-dpo.json --loss metrics/loss/demo-dpo.csv

In: a processed dataset of kind preference; a model with its tokenizer, which is also the reference model, or what it
gives the rows (--reference_scores, of scripts/score_reference.py).
Out: a checkpoint, held-out loss, accuracy and margin of the implicit rewards before and after, the loss by step.
Rafailov et al., 2023, "Direct Preference Optimization" (https://arxiv.org/abs/2305.18290).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference

from heirloom import stage
from heirloom.config.trainers.dpo import DPO
from heirloom.training.batches.preference_collators import pair_collator
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.inputs.reference_scores import with_reference_scores
from heirloom.training.inputs.training_command import read_command
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.fused_output import FusedOutput
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.trainers.pretokenized_trainers import PretokenizedDPOTrainer


def main() -> None:
    command = read_command(__doc__, DPO, DPOConfig)
    data, tokenizer = load_inputs(command)
    scored = command.reference_scores is not None
    args, model = arguments_and_model(DPOConfig, command, data, max_length=None, precompute_ref_log_probs=scored)
    if args.disable_dropout:
        disable_dropout(model)  # the trainer knows layers of dropout alone
    reference = None  # the model itself, with its adapter switched off
    if scored:
        data = with_reference_scores(data, command.reference_scores, "dpo")
    elif command.peft is None:
        reference = load_model(command)

    lifecycle = Lifecycle(command)
    with making_trainer():
        trainer = PretokenizedDPOTrainer(
            **lifecycle.shared_arguments(model, args, data, tokenizer),
            ref_model=reference,
            data_collator=pair_collator(DataCollatorForPreference, command, tokenizer),
            peft_config=lora_config(command.peft, model),
        )
    trainer.add_callback(FusedOutput())
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
