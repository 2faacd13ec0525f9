"""Make a processed dataset: raw rows become token ids, training masks and splits; or processed datasets are mixed.

    python scripts/launch.py python scripts/create_dataset.py --config config/demo/datasets/demo-chat.yaml \\
        --sections processing --raw data/raw/demo-chat --tokenizer tokenizers/demo-tiny \\
        --output data/processed/demo-chat --statistics metrics/data/demo-chat.json

In: the section `processing`, the raw dataset and a tokenizer; or the section `source`, and as --raw a dataset that is
    processed already; or the section `mixture` and --datasets name=folder …
By hand, from anywhere to anywhere: create_dataset.py DESTINATION --model-id … --dataset-name …, see DESTINATION --help.
Out: train/ and perhaps test/ for `datasets.load_from_disk`, dataset.json, preview.html to look at, the statistics.
"""

from heirloom.data.hidden_token import hide_token

if __name__ == "__main__":
    hide_token()  # before the imports below, which take seconds

# isort: split
import argparse
import sys
from pathlib import Path

from heirloom import stage
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.mixture import MixtureSection
from heirloom.config.sections.processing import ProcessingSection
from heirloom.config.sections.source import DatasetSource
from heirloom.data.data_statistics import summary
from heirloom.data.dataset_creation import create_dataset
from heirloom.data.datasets_by_hand import create_by_hand, is_by_hand
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_trust, output_path, stage_parser


def main() -> None:
    if is_by_hand(sys.argv[1:]):
        create_by_hand(sys.argv[1:])
        return
    args = parse_arguments()
    trust(args.trust_remote_code)
    if args.sections == ["mixture"]:
        from heirloom.data.mixing import mix_datasets  # imports `datasets`, which takes a second

        section = read_section(args.config, "mixture", MixtureSection)
        metrics = mix_datasets(dict(args.datasets), section, args.output, args.statistics)
    elif args.sections == ["source"]:
        from heirloom.data.made_elsewhere import take_over  # imports `datasets` too

        kind = read_section(args.config, "source", DatasetSource).kind
        metrics = take_over(args.raw, args.tokenizer, kind, args.output, args.statistics)
    else:
        section = read_section(args.config, "processing", ProcessingSection)
        metrics = create_dataset(args.raw, args.tokenizer, section, args.output, args.statistics)
    for line in summary(metrics):
        print(f"{args.output}/{line}")


def parse_arguments() -> argparse.Namespace:
    parser = stage_parser(__doc__, config="a file of config/datasets/", sections=("processing", "source", "mixture"))
    parser.add_argument("--raw", type=Path, help="raw dataset: a file or a folder")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer")
    parser.add_argument("--datasets", type=name_and_folder, nargs="+", default=[], help="of a mixture: name=folder …")
    parser.add_argument("--output", type=output_path, required=True, help="folder to write")
    parser.add_argument("--statistics", type=output_path, help="JSON file to write the statistics to")
    add_trust(parser)
    args = parser.parse_args()
    if args.sections != ["mixture"] and not (args.raw and args.tokenizer):
        parser.error("give --raw and --tokenizer")
    return args


def name_and_folder(argument: str) -> tuple[str, Path]:
    name, equals, folder = argument.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected name=folder, found {argument}")
    return name, Path(folder)


if __name__ == "__main__":
    stage.run(main)
