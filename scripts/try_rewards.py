"""Try the rewards of a training before it begins: on references, on wrong answers and on empty ones.

    python scripts/launch.py python scripts/try_rewards.py --dataset data/processed/questions
        --tokenizer tokenizers/tiny
        --training '{"max_completion_length": 256, "rewards": [{"function": "exact_match"}]}'
        --metrics metrics/rewards/NAME.json

In:  a processed dataset of kind chat, whose last answers are the references; the tokenizer that it was made with;
     `training.rewards`; checkpoints of the reward models among them.
Out: the mean of each part by kind of answer, and rows. Rewards that teach nothing fail here, with rows in the sentence,
     before a machine with GPUs is taken for them.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.before_training.tried_rewards import TriedSection
from heirloom.config.parsing.section_in_command import section_in_command
from heirloom.data.rows.tokenization import load_transformers_tokenizer
from heirloom.json_files import write_json
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_portable, add_trust, output_path, reward_model_folders
from heirloom.training.inputs.prompt_rows import prompt_rows
from heirloom.training.inputs.training_data import load_training_data
from heirloom.training.rewards.functions import rewards_of
from heirloom.training.rewards.trial import evenly, shown_row, try_rewards

if TYPE_CHECKING:
    from heirloom.training.rewards.reward_models import RewardModel


def main() -> None:
    options = parse_arguments()
    trust(options.trust_remote_code)
    keys = section_in_command("--training", options.training, TriedSection)
    train = load_training_data(options.dataset, ("chat",)).train
    rows = prompt_rows(train, load_transformers_tokenizer(options.tokenizer), options.dataset, evenly(len(train)))
    folders = reward_model_folders(options.reward_models, keys.reward_models)
    judges = loaded(folders, keys.per_device_train_batch_size, options.portable) if folders else {}
    for judge in judges.values():
        judge.check_room(max(map(len, rows["prompt_ids"])), keys.max_completion_length)
    trial = try_rewards(rewards_of(keys.rewards, keys.max_completion_length, judges), list(rows))
    print("\n".join([trial.said, *map(shown_row, trial.shown())]), flush=True)
    with new_artifact(options.metrics) as partial:
        said = {"dataset": options.dataset.name, "training": json.loads(options.training), "prompts": trial.prompts}
        write_json(partial, {**said, **trial.means(), "rows": trial.shown()})


def loaded(folders: Mapping[str, Path], batch_size: int, portable: bool) -> "dict[str, RewardModel]":
    """Return the reward models, on the GPU where there is one."""
    from heirloom.arithmetic.ranks import start_computing
    from heirloom.training.rewards.reward_models import reward_models

    start_computing(portable=portable)
    return reward_models(folders, batch_size)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder of a processed dataset")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer that it was made with")
    parser.add_argument(
        "--training", required=True, help="rewards and max_completion_length, as in the section `training:`, as JSON"
    )
    parser.add_argument(
        "--reward_models",
        nargs="+",
        metavar="RUN=FOLDER",
        help="reward models that the rewards name; absent: checkpoints/ and its name",
    )
    add_trust(parser)
    add_portable(parser)
    parser.add_argument("--metrics", type=output_path, required=True, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
