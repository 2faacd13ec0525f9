"""Fine-tune a model on chats (SFT): TRL's SFTTrainer on pre-tokenized, masked rows.

    python scripts/launch.py torchrun scripts/sft_train.py --config config/runs/demo-sft.yaml --sections training \\
        --dataset data/processed/demo-chat --base checkpoints/demo-pretrain --deepspeed config/deepspeed/zero2.json \\
        --output checkpoints/demo-sft --metrics metrics/training/demo-sft.json --loss metrics/loss/demo-sft.csv

In: a processed dataset of kind chat, whose labels say which tokens are trained on, or text; a model with its tokenizer.
Out: a checkpoint, held-out loss and perplexity before and after, the loss by step.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import SFTConfig

from heirloom import stage
from heirloom.distributed import start_deepspeed, start_rank
from heirloom.training.batches.collator_choice import make_collator
from heirloom.training.batches.packing import packed_data
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model, load_tokenizer
from heirloom.training.inputs.training_command import read_command
from heirloom.training.inputs.training_data import load_training_data
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.token_mean_loss import check_causal_loss
from heirloom.training.losses.token_weighted_evaluation import token_weighted_metrics
from heirloom.training.trainers.pretokenized_trainers import SKIP_PREPARATION, PretokenizedSFTTrainer
from heirloom.training.training_arguments import trainer_arguments


def main() -> None:
    command = read_command(__doc__, SFTConfig)
    start_rank()
    data = load_training_data(command.dataset, kinds=("chat", "text"))
    tokenizer = load_tokenizer(command.base)

    args = trainer_arguments(SFTConfig, command, data, dataset_kwargs=SKIP_PREPARATION, max_length=None)
    start_deepspeed()
    model = load_model(command)
    check_causal_loss(model)
    if args.packing:
        seq_length = command.training.seq_length or data.max_length
        data = packed_data(data, seq_length, args.packing_strategy, args.output_dir)
        args.padding_free = True  # documents stay apart, whatever the strategy

    rows = {"trainer": "sft", "columns": data.train.column_names}
    collator = make_collator(**command.training.collation, **rows, tokenizer=tokenizer, model=model, seed=args.seed)
    args.pad_to_multiple_of = command.training.pad_to_multiple_of

    lifecycle = Lifecycle(command)
    trainer = PretokenizedSFTTrainer(
        model=model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.test,
        data_collator=None if args.padding_free else collator,  # TRL's own knows how to make padding-free batches
        processing_class=tokenizer,
        peft_config=lora_config(command.peft, model),
        compute_metrics=token_weighted_metrics,
        callbacks=lifecycle.callbacks,
    )
    trainer.evaluation_collator = collator
    lifecycle.run(trainer, name="sft")


if __name__ == "__main__":
    stage.run(main)
