"""Train a language model (pre-training, continued or from scratch): transformers' Trainer on pre-tokenized rows.

    python scripts/launch.py torchrun scripts/train.py --config config/demo/runs/demo-pretrain.yaml \\
        --sections training --dataset data/processed/demo-text --base models/demo-tiny \\
        --deepspeed config/deepspeed/zero2.json --output checkpoints/demo-pretrain \\
        --metrics metrics/training/demo-pretrain.json --loss metrics/loss/demo-pretrain.csv

In: a processed dataset of kind text, or chat to continue pre-training on chats; a model with its tokenizer: a causal
one, or a masked one with `collator: mlm`. Kind seq2seq is for encoder-decoder models.
Out: a checkpoint, held-out loss and perplexity before and after, the loss by step.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from transformers import Trainer, TrainingArguments

from heirloom import stage
from heirloom.config.before_training.packing import JOINED
from heirloom.config.trainers.language_modeling import LANGUAGE_MODELING
from heirloom.training.batches.collator_choice import token_collator
from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.masked_language_modeling import MaskingCollator, MasksOfEpoch
from heirloom.training.batches.packed_rows import read_packed_rows
from heirloom.training.batches.packing import joined_data
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.inputs.adapters import with_adapter
from heirloom.training.inputs.training_command import read_command
from heirloom.training.inputs.training_data import check_rows
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.held_out_batches import HeldOutBatches
from heirloom.training.losses.router_loss import RouterLoss
from heirloom.training.losses.token_mean_loss import loss_function
from heirloom.training.losses.token_weighted_evaluation import TokenWeightedEvaluation, token_weighted_metrics
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer


class LanguageModelTrainer(EachRowOnce, StepCounts, RouterLoss, HeldOutBatches, TokenWeightedEvaluation, Trainer):
    """transformers' Trainer with an exact held-out loss."""


def main() -> None:
    command = read_command(__doc__, LANGUAGE_MODELING, TrainingArguments)
    data, tokenizer = load_inputs(command)
    args, model = arguments_and_model(TrainingArguments, command, data)
    with making_trainer():
        model = with_adapter(model, command.peft, args)
    check_rows(data, model, command.base)
    if command.packed_rows is not None:
        data = read_packed_rows(data, JOINED, command.training.seq_length, command.packed_rows)
    elif command.training.seq_length:
        data = joined_data(data, command.training.seq_length, args.output_dir)

    lifecycle = Lifecycle(command)
    with making_trainer():
        trainer = LanguageModelTrainer(
            **lifecycle.shared_arguments(model, args, data, tokenizer),
            data_collator=token_collator(command, data, tokenizer, model, args),
            compute_loss_func=loss_function(model, args),
            compute_metrics=token_weighted_metrics,
        )
    trainer.evaluation_collator = token_collator(command, data, tokenizer, model, args)
    if isinstance(trainer.data_collator, MaskingCollator):
        trainer.add_callback(MasksOfEpoch(trainer.data_collator))
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
