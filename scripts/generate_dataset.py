"""Write a raw dataset by the project's own seeded generator (docs/demo.md).

    python scripts/launch.py python scripts/generate_dataset.py --config config/demo/datasets/demo-text.yaml \\
        --sections source --output data/raw/demo-text

In: the section `source` with generator, part, rows and seed.
Out: train.jsonl, test.jsonl, and source.json with each file's split, size and SHA-256.
"""

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.source import DatasetSource
from heirloom.data.raw.raw_dataset import data_files, raw_dataset_arguments, splits_by_name, write_note
from heirloom.demo.generator import write_raw


def main() -> None:
    args = raw_dataset_arguments(__doc__)
    source = read_section(args.config, "source", DatasetSource)
    test_rows = {} if source.test_rows is None else {"test_rows": source.test_rows}
    with new_artifact(args.output) as partial:
        partial.mkdir()
        write_raw(source.part, source.rows, source.seed, partial, **test_rows)
        write_note(partial, source, splits_by_name(data_files(partial)))


if __name__ == "__main__":
    stage.run(main)
