"""Pack the rows of a processed dataset into longer ones, or join them: once, for all trainings that take them so.

    python scripts/launch.py python scripts/pack_dataset.py --dataset data/processed/chats --strategy bfd
        --seq_length 2048 --output data/packed/chats-bfd-2048 --metrics metrics/packed/chats-bfd-2048.json

In:  a processed dataset of kind chat or text.
Out: OUTPUT/train.arrow, joined text's test.arrow too, heirloom.json, which says what they were made from; how many rows
     and tokens they are, by which the plan knows the steps. A training that reads them packs nothing on its GPUs.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
from pathlib import Path
from typing import get_args

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.before_training.packing import JOINED
from heirloom.json_files import write_json
from heirloom.stage_arguments import output_path
from heirloom.training.batches.packed_rows import write_packed_rows
from heirloom.training.batches.packing import PackingStrategy
from heirloom.training.inputs.training_data import load_training_data


def main() -> None:
    args = parse_arguments()
    data = load_training_data(args.dataset, ("chat", "text"))
    with new_artifact(args.output) as partial:
        partial.mkdir()
        counts = write_packed_rows(data, args.strategy, args.seq_length or data.max_length, partial)
    with new_artifact(args.metrics) as partial:
        write_json(partial, counts)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder of a processed dataset")
    parser.add_argument(
        "--strategy", choices=(*get_args(PackingStrategy), JOINED), required=True, help="how rows are put together"
    )
    parser.add_argument("--seq_length", type=int, help="tokens of a packed row; absent: the dataset's max_length")
    parser.add_argument("--output", type=output_path, required=True, help="folder for the packed rows")
    parser.add_argument("--metrics", type=output_path, required=True, help="JSON file of their counts to write")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
