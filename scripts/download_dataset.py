"""Bring a raw dataset here: from the Hugging Face Hub or from S3.

    python scripts/launch.py python scripts/download_dataset.py --config config/examples/datasets/no-robots.yaml \\
        --sections source --output data/raw/no-robots

In: the section `source`; credentials only from the environment (HF_TOKEN; AWS_PROFILE and the like).
Out: the data files as they came, and source.json: the commit, and each file's split, size and SHA-256.
"""

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.source import DatasetSource
from heirloom.data.raw.raw_dataset import raw_dataset_arguments, write_note
from heirloom.data.raw.raw_sources import fetch_raw


def main() -> None:
    args = raw_dataset_arguments(__doc__)
    source = read_section(args.config, "source", DatasetSource)
    with new_artifact(args.output) as partial:
        partial.mkdir()
        splits, commit = fetch_raw(source, partial)
        write_note(partial, source, splits, commit)


if __name__ == "__main__":
    stage.run(main)
