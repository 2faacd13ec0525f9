"""Let a model learn from the rewards of its own answers (GRPO): TRL's GRPOTrainer on pre-tokenized prompts.

    python scripts/launch.py torchrun scripts/grpo_train.py --config config/runs/NAME.yaml --sections training \\
        --dataset data/processed/DATASET --base checkpoints/BASE --deepspeed config/deepspeed/zero2.json \\
        --output checkpoints/NAME --metrics metrics/training/NAME.json --loss metrics/loss/NAME.csv \\
        --completions metrics/completions/NAME.jsonl

In: a processed dataset of kind chat, whose last answers are the references; a model with its tokenizer, which is also
the reference model where `beta` is not 0; `training.rewards`.
Out: a checkpoint, rewards of held-out prompts before and after, the rewards by step, some of the
answers that it learned from.
Shao et al., 2024, "DeepSeekMath" (https://arxiv.org/abs/2402.03300).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import GRPOConfig

from heirloom import stage
from heirloom.config.trainers.grpo import GRPO
from heirloom.training.inputs.training_command import read_command
from heirloom.training.rewarded_training import train_by_rewards
from heirloom.training.trainers.rewarded_trainers import PretokenizedGRPOTrainer


def main() -> None:
    command = read_command(__doc__, GRPO, GRPOConfig)
    train_by_rewards(command, GRPOConfig, PretokenizedGRPOTrainer)


if __name__ == "__main__":
    stage.run(main)
