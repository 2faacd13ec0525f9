"""Fine-tune a model on chats (SFT): TRL's SFTTrainer on pre-tokenized, masked rows.

    python scripts/launch.py torchrun scripts/sft_train.py --config config/demo/runs/demo-sft.yaml \\
        --sections training --dataset data/processed/demo-chat --base checkpoints/demo-pretrain \\
        --deepspeed config/deepspeed/zero2.json --output checkpoints/demo-sft \\
        --metrics metrics/training/demo-sft.json --loss metrics/loss/demo-sft.csv

In: a processed dataset of kind chat, whose labels say which tokens are trained on, or text; a model with its tokenizer.
Out: a checkpoint, held-out loss and perplexity before and after, the loss by step.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import SFTConfig

from heirloom import stage
from heirloom.config.trainers.sft import SFT
from heirloom.training.batches.collator_choice import token_collator
from heirloom.training.batches.packed_attention import attend_by_document
from heirloom.training.batches.packed_rows import read_packed_rows
from heirloom.training.batches.packing import packed_data
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.training_command import read_command
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.fused_output import FusedOutput
from heirloom.training.losses.token_mean_loss import check_causal_loss
from heirloom.training.losses.token_weighted_evaluation import token_weighted_metrics
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.trainers.pretokenized_trainers import SKIP_PREPARATION, PretokenizedSFTTrainer


def main() -> None:
    command = read_command(__doc__, SFT, SFTConfig)
    data, tokenizer = load_inputs(command)
    args, model = arguments_and_model(SFTConfig, command, data, dataset_kwargs=SKIP_PREPARATION, max_length=None)
    check_causal_loss(model)
    if args.packing:
        seq_length = command.training.seq_length or data.max_length
        if command.packed_rows is not None:
            data = read_packed_rows(data, args.packing_strategy, seq_length, command.packed_rows)
        else:
            data = packed_data(data, seq_length, args.packing_strategy, args.output_dir)
        args.padding_free = True  # documents stay apart, whatever the strategy
    if args.padding_free:
        attend_by_document(model, args, command.training.attn_implementation)
    args.pad_to_multiple_of = command.training.pad_to_multiple_of

    collator = token_collator(command, data, tokenizer, model, args)
    lifecycle = Lifecycle(command)
    with making_trainer():
        trainer = PretokenizedSFTTrainer(
            **lifecycle.shared_arguments(model, args, data, tokenizer),
            data_collator=None if args.padding_free else collator,  # TRL's own knows how to make padding-free batches
            peft_config=lora_config(command.peft, model),
            compute_metrics=token_weighted_metrics,
        )
    trainer.evaluation_collator = collator
    trainer.add_callback(FusedOutput())
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
