"""Bring a raw dataset here: from the Hugging Face Hub, from S3, or from the demo's generator.

    python scripts/launch.py python scripts/download_dataset.py --config config/datasets/demo-text.yaml \\
        --sections source --output data/raw/demo-text

In: the section `source`; credentials only from the environment (HF_TOKEN; AWS_PROFILE and the like).
Out: the data files as they came, and source.json: the commit, and each file's split, size and SHA-256.
"""

import argparse
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.reading import read_section
from heirloom.config.source import DatasetSource
from heirloom.json_files import write_json
from heirloom.raw_files import SOURCE_FILE
from heirloom.raw_sources import fetch_raw


def main() -> None:
    args = parse_arguments()
    source = read_section(args.config, "source", DatasetSource)
    with new_artifact(args.output) as partial:
        partial.mkdir()
        note = fetch_raw(source, partial)
        write_json(partial / SOURCE_FILE, note)
    size = sum(file["bytes"] for file in note["files"])
    print(f"{args.output}: {len(note['files'])} files, {size:,} bytes")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a file of config/datasets/")
    parser.add_argument("--sections", type=lambda names: names.split(","), required=True, help="sections to read")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
