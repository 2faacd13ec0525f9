"""Make a processed dataset: raw rows become token ids, training masks and splits; or processed datasets are mixed.

    python scripts/launch.py python scripts/create_dataset.py --config config/datasets/demo-chat.yaml \\
        --sections processing --raw data/raw/demo-chat --tokenizer tokenizers/demo-tiny \\
        --output data/processed/demo-chat --statistics metrics/data/demo-chat.json

In: the section `processing`, the raw dataset and a tokenizer; or the section `mixture` and --datasets name=folder …
Out: train/ and perhaps test/ for `datasets.load_from_disk`, dataset.json, preview.html to look at, the statistics.
"""

import argparse
from pathlib import Path

from heirloom import stage
from heirloom.config.processing import ProcessingSection
from heirloom.config.reading import read_section
from heirloom.dataset_creation import create_dataset


def main() -> None:
    args = parse_arguments()
    section = read_section(args.config, "processing", ProcessingSection)
    metrics = create_dataset(args.raw, args.tokenizer, section, args.output, args.statistics)
    for split, counts in metrics.items():
        print(
            f"{args.output}/{split}: {counts['rows_out']:,} rows, {counts['tokens']:,} tokens, "
            f"{counts['share_trained_on']:.1%} trained on; of {counts['rows_in']:,} raw rows "
            f"{counts['rows_dropped']:,} left out"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a file of config/datasets/")
    parser.add_argument("--sections", type=lambda names: names.split(","), required=True, help="sections to read")
    parser.add_argument("--raw", type=Path, help="raw dataset: a file or a folder")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--statistics", type=Path, help="JSON file to write the statistics to")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
