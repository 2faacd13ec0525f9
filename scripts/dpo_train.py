"""Tune a model to preferences (DPO): TRL's DPOTrainer on pre-tokenized pairs.

    python scripts/launch.py torchrun scripts/dpo_train.py --config config/runs/demo-dpo.yaml --sections training \\
        --dataset data/processed/demo-preferences --base checkpoints/demo-sft --deepspeed config/deepspeed/zero2.json \\
        --output checkpoints/demo-dpo --metrics metrics/training/demo-dpo.json --loss metrics/loss/demo-dpo.csv

In: a processed dataset of kind preference; a model with its tokenizer, which is also the reference model.
Out: a checkpoint, held-out loss, accuracy and margin of the implicit rewards before and after, the loss by step.
Rafailov et al., 2023, "Direct Preference Optimization" (https://arxiv.org/abs/2305.18290).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import DPOConfig

from heirloom import stage
from heirloom.distributed import start_deepspeed, start_rank
from heirloom.training.batches.preference_collators import make_preference_collator
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model, load_tokenizer
from heirloom.training.inputs.training_command import read_command
from heirloom.training.inputs.training_data import copied_rows, load_training_data
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.trainers.pretokenized_trainers import PretokenizedDPOTrainer
from heirloom.training.training_arguments import trainer_arguments


def main() -> None:
    command = read_command(__doc__, DPOConfig)
    start_rank()
    data = load_training_data(command.dataset, kinds=("preference",))
    tokenizer = load_tokenizer(command.base)

    args = trainer_arguments(DPOConfig, command, data, max_length=None)
    start_deepspeed()
    model = load_model(command)
    reference = None  # the model itself: before its first step, or with its adapter switched off
    if args.precompute_ref_log_probs:
        data = copied_rows(data, args.output_dir)  # the trainer writes a cache beside the rows that it reads
    elif command.peft is None:
        reference = load_model(command)

    section = command.training
    lifecycle = Lifecycle(command)
    trainer = PretokenizedDPOTrainer(
        model=model,
        ref_model=reference,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.test,
        data_collator=make_preference_collator(
            section.collator, trainer="dpo", tokenizer=tokenizer, pad_to_multiple_of=section.pad_to_multiple_of
        ),
        processing_class=tokenizer,
        peft_config=lora_config(command.peft, model),
        callbacks=lifecycle.callbacks,
    )
    lifecycle.run(trainer, name="dpo")


if __name__ == "__main__":
    stage.run(main)
