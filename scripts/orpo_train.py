"""Fine-tune a model on preferences without a reference model (ORPO): TRL's ORPOTrainer on pre-tokenized pairs.

    python scripts/launch.py torchrun scripts/orpo_train.py --config config/runs/llama3-orpo.yaml \\
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
from heirloom.distributed import start_deepspeed, start_rank
from heirloom.training.batches.preference_collators import make_preference_collator
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model, load_tokenizer
from heirloom.training.inputs.training_command import read_command
from heirloom.training.inputs.training_data import load_training_data
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.trainers.orpo import ORPOConfig, PretokenizedORPOTrainer
from heirloom.training.training_arguments import trainer_arguments


def main() -> None:
    command = read_command(__doc__, ORPOConfig)
    start_rank()
    data = load_training_data(command.dataset, kinds=("preference",))
    tokenizer = load_tokenizer(command.base)

    args = trainer_arguments(ORPOConfig, command, data, max_length=data.max_length, remove_unused_columns=False)
    start_deepspeed()
    model = load_model(command)

    section = command.training
    lifecycle = Lifecycle(command)
    trainer = PretokenizedORPOTrainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.test,
        data_collator=make_preference_collator(
            section.collator, trainer="orpo", tokenizer=tokenizer, pad_to_multiple_of=section.pad_to_multiple_of
        ),
        processing_class=tokenizer,
        peft_config=lora_config(command.peft, model),
        callbacks=lifecycle.callbacks,
    )
    lifecycle.run(trainer, name="orpo")


if __name__ == "__main__":
    stage.run(main)
