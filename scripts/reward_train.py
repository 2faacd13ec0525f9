"""Train a reward model on pairs of answers: TRL's RewardTrainer on pre-tokenized pairs.

    python scripts/launch.py torchrun scripts/reward_train.py --config config/examples/runs/llama3-reward.yaml \\
        --sections training,peft --dataset data/processed/hh-helpful --base checkpoints/llama3-sft \\
        --deepspeed config/deepspeed/zero2.json --output checkpoints/llama3-reward \\
        --metrics metrics/training/llama3-reward.json --loss metrics/loss/llama3-reward.csv

In: a processed dataset of kind preference; a causal model with its tokenizer, whose output layer is replaced.
Out: a sequence classification model, held-out loss, accuracy and margin before and after, the loss by step.
Ouyang et al., 2022, "Training language models to follow instructions with human feedback"
(https://arxiv.org/abs/2203.02155), eq. 1.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import RewardConfig

from heirloom import stage
from heirloom.config.trainers.reward import REWARD
from heirloom.training.batches.preference_collators import WholeTextCollator, pair_collator
from heirloom.training.batches.usual_end import usual_end
from heirloom.training.inputs.adapters import with_adapter
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.inputs.training_command import read_command
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.trainers.reward import PretokenizedRewardTrainer


def main() -> None:
    command = read_command(__doc__, REWARD, RewardConfig)
    data, tokenizer = load_inputs(command)
    args, model = arguments_and_model(RewardConfig, command, data, max_length=None, remove_unused_columns=False)
    if args.disable_dropout:
        disable_dropout(model)  # the trainer knows layers of dropout alone

    lifecycle = Lifecycle(command, answer_end=usual_end(data.train, tokenizer))
    with making_trainer():
        trainer = PretokenizedRewardTrainer(
            **lifecycle.shared_arguments(with_adapter(model, command.peft, args), args, data, tokenizer),
            data_collator=pair_collator(WholeTextCollator, command, tokenizer),
        )
    lifecycle.run(trainer)


if __name__ == "__main__":
    stage.run(main)
