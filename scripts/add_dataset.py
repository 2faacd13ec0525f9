"""Add a dataset of your own: look at its rows, write its file in config/datasets/, show three rows with their mask.

    python scripts/add_dataset.py my_data/chats.jsonl --tokenizer demo-tiny
    python scripts/add_dataset.py owner/name --tokenizer llama3-8b --name chats

In:  a file, a folder, s3://bucket/prefix or a repository of the Hugging Face Hub: chats (messages, ShareGPT), Alpaca's
     instructions, questions with answers, pairs (chosen, rejected), sources with targets, plain text.
Out: config/datasets/NAME.yaml with the processing function and the columns that take the rows; on the terminal what
     could not be decided, and, where the model's tokenizer is here, the first rows: what is trained on stands between
     « and ».
"""

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from heirloom import stage
from heirloom.config.folders import named_files
from heirloom.config.linked_files import how_to_share, pointer_of
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.dataset_creation import create_dataset
from heirloom.data.datasets_by_hand import fetched, place_of
from heirloom.data.first_look.shape_of_rows import first_rows, shape_of
from heirloom.data.first_look.shown_rows import print_rows
from heirloom.data.first_look.written_file import write_config_file
from heirloom.errors import HeirloomError, plain

TRIED_ROWS = 50
HELD_OUT = 0.02


def main() -> None:
    options = parse_arguments()
    file = Path("config/datasets") / f"{options.name or name_of(options.place)}.yaml"
    if other := named_files(Path(), "datasets").get(file.stem):
        raise HeirloomError(f"{other}: exists already: give another --name, or delete it")
    models = named_files(Path(), "models")
    if options.tokenizer not in models:
        known = did_you_mean(options.tokenizer, models)
        raise HeirloomError(f"--tokenizer: there is no config/models/{options.tokenizer}.yaml; {known}")
    source = place_of("FILE_OR_REPO", options.place, None)
    with tempfile.TemporaryDirectory() as folder:
        raw = fetched("download_dataset.py", source, Path(folder) / "raw")
        rows, splits = first_rows(raw)
        shape, todo = shape_of(rows)
        processing = {**shape.keys, "max_length": options.max_length}
        if "test" not in splits:
            processing["test_fraction"] = HELD_OUT
            todo.append(f"there is no test split, so {HELD_OUT:.0%} of the rows are held out, drawn by seed")
        if "hub" in source:
            todo.append(f"source.revision: `python scripts/pin.py {file.stem}` writes the commit")
        todo = [plain(words) for words in todo]  # columns of anybody's have their names in them
        value = {"tokenizer": options.tokenizer, "source": source, "processing": processing}
        write_config_file(file, "dataset", value, [f"TODO {words}" for words in todo])
        print(f"wrote {file}: {shape.processing_function}, {len(rows)} rows looked at")
        print("\n".join(f"to decide: {words}" for words in todo) or "nothing is left to decide")
        show(raw, Path("tokenizers") / options.tokenizer, processing, Path(folder) / "tried")
    print(f"\nall rows, as a run will have them: python scripts/preview_dataset.py {file.stem}")
    if "path" in source and pointer_of(Path(options.place)) is None:
        print(f"a colleague needs {options.place} as well: {how_to_share(options.place)}")


def name_of(place: str) -> str:
    """Return the name that a place gives a dataset."""
    last = place.rstrip("/").rpartition("/")[2].partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_") or "my-data"


def show(raw: Path, tokenizer: Path, processing: dict[str, Any], tried: Path) -> None:
    """Process the first rows as the file says, and print some."""
    if not tokenizer.is_dir():
        print(f"no rows are shown: {tokenizer} is not here yet; the command below makes one to look with")
        return
    keys = {key: value for key, value in processing.items() if key != "test_fraction"}
    section = ProcessingSection.model_validate({**keys, "bad_rows": 1.0})
    try:
        create_dataset(raw, tokenizer, section, tried, first_rows=TRIED_ROWS)
    except HeirloomError as error:
        raise HeirloomError(f"the file is written, but its rows cannot be processed yet: {error}") from None
    print_rows(tried, tokenizer)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", metavar="FILE_OR_REPO", help="file, folder, s3://… or owner/name of the hub")
    parser.add_argument("--tokenizer", required=True, help="model of config/models/ whose tokenizer makes the ids")
    parser.add_argument("--name", help="of the file; absent: the place's last part")
    parser.add_argument("--max_length", type=int, default=2048, help="longest row, tokens")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
