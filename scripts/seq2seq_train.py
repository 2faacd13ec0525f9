"""Train an encoder-decoder model, or a decoder-only one on chats: transformers' Seq2SeqTrainer on tokenized rows.

    python scripts/launch.py torchrun scripts/seq2seq_train.py --config config/runs/NAME.yaml --sections training \\
        --dataset data/processed/DATASET --base models/MODEL --deepspeed config/deepspeed/zero2.json \\
        --output checkpoints/NAME --metrics metrics/training/NAME.json --loss metrics/loss/NAME.csv

In: a processed dataset of kind seq2seq (encoder-decoder models) or chat (decoder-only ones); a model and its tokenizer.
Out: a checkpoint, held-out loss and perplexity before and after, the loss by step. With `predict_with_generate` the
held-out prompts are answered as the section `generation` says, and exact_match, gen_len and finished measured too.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from heirloom import stage
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.trainers.seq2seq import SEQ2SEQ
from heirloom.training.batches.collator_choice import token_collator
from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.inputs.adapters import with_adapter
from heirloom.training.inputs.training_command import read_command
from heirloom.training.inputs.training_data import check_rows
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.generated_evaluation import GeneratedEvaluation, held_out_answers
from heirloom.training.losses.held_out_batches import HeldOutBatches
from heirloom.training.losses.router_loss import RouterLoss
from heirloom.training.losses.token_mean_loss import loss_function
from heirloom.training.losses.token_weighted_evaluation import TokenWeightedEvaluation, token_weighted_metrics
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer

BY_SECTION = dict.fromkeys(("generation_config", "generation_max_length", "generation_num_beams"))
"""Arguments that the run's section `generation` replaces."""


class ExactSeq2SeqTrainer(
    EachRowOnce, StepCounts, RouterLoss, GeneratedEvaluation, HeldOutBatches, TokenWeightedEvaluation, Seq2SeqTrainer
):
    """transformers' Seq2SeqTrainer with an exact held-out loss and answers to the prompts alone."""


def main() -> None:
    command = read_command(__doc__, SEQ2SEQ, Seq2SeqTrainingArguments, generation=GenerationSection)
    data, tokenizer = load_inputs(command)
    args, model = arguments_and_model(Seq2SeqTrainingArguments, command, data, **BY_SECTION)
    with making_trainer():
        model = with_adapter(model, command.peft, args)
    check_rows(data, model, command.base)

    lifecycle = Lifecycle(command)
    with making_trainer():
        trainer = ExactSeq2SeqTrainer(
            **lifecycle.shared_arguments(model, args, data, tokenizer),
            data_collator=token_collator(command, data, tokenizer, model, args),
            compute_loss_func=loss_function(model, args),
            compute_metrics=token_weighted_metrics,
        )
    if command.generation:
        trainer.held_out_answers = held_out_answers(command.dataset, command.generation, model, tokenizer, args)
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
