"""Fine-tune a model on preferences without a reference model (ORPO): transformers' Trainer with its loss.

    python scripts/launch.py torchrun scripts/orpo_train.py --config config/examples/runs/llama3-orpo.yaml \\
        --sections training,peft --dataset data/processed/hh-helpful --base models/llama3-8b \\
        --deepspeed config/deepspeed/zero2.json --output checkpoints/llama3-orpo \\
        --metrics metrics/training/llama3-orpo.json --loss metrics/loss/llama3-orpo.csv

In: a processed dataset of kind preference; a model with its tokenizer.
Out: a checkpoint, held-out loss, accuracy and margin of the rewards before and after, the loss by step.
Hong et al., 2024, "ORPO: Monolithic Preference Optimization without Reference Model" (https://arxiv.org/abs/2403.07691).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from heirloom import stage
from heirloom.config.trainers.orpo import ORPO
from heirloom.training.batches.preference_collators import OddsRatioCollator, pair_collator
from heirloom.training.inputs.adapters import with_adapter
from heirloom.training.inputs.training_command import read_command
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.trainers.orpo import ORPOConfig, ORPOTrainer


def main() -> None:
    command = read_command(__doc__, ORPO, ORPOConfig)
    data, tokenizer = load_inputs(command)
    args, model = arguments_and_model(ORPOConfig, command, data, remove_unused_columns=False)

    lifecycle = Lifecycle(command)
    with making_trainer():
        model = with_adapter(model, command.peft, args)
        trainer = ORPOTrainer(
            **lifecycle.shared_arguments(model, args, data, tokenizer),
            data_collator=pair_collator(OddsRatioCollator, command, tokenizer),
        )
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
