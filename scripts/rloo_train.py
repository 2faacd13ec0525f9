"""Let a model learn from the rewards of its own answers (RLOO): TRL's RLOOTrainer on pre-tokenized prompts.

    python scripts/launch.py torchrun scripts/rloo_train.py --config config/runs/NAME.yaml --sections training \\
        --dataset data/processed/DATASET --base checkpoints/BASE --deepspeed config/deepspeed/zero2.json \\
        --output checkpoints/NAME --metrics metrics/training/NAME.json --loss metrics/loss/NAME.csv \\
        --completions metrics/completions/NAME.jsonl

In: a processed dataset of kind chat, whose last answers are the references; a model with its tokenizer, which is also
the reference model where `beta` is not 0; `training.rewards`.
Out: a checkpoint, rewards of held-out prompts before and after, the rewards by step, some of the
answers that it learned from.
Ahmadian et al., 2024, "Back to Basics" (https://arxiv.org/abs/2402.14740).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
from trl import RLOOConfig

from heirloom import stage
from heirloom.config.trainers.rloo import RLOO
from heirloom.training.inputs.training_command import read_command
from heirloom.training.rewarded_training import train_by_rewards
from heirloom.training.trainers.rewarded_trainers import PretokenizedRLOOTrainer


def main() -> None:
    command = read_command(__doc__, RLOO, RLOOConfig)
    train_by_rewards(command, RLOOConfig, PretokenizedRLOOTrainer)


if __name__ == "__main__":
    stage.run(main)
