"""Add a model of the hub or a folder: look at its small files, pin its commit, write its file in config/models/.

    python scripts/add_model.py Qwen/Qwen3-0.6B
    python scripts/add_model.py ../weights/my-llama --name my-llama

In:  a repository of the Hugging Face Hub (HF_TOKEN for a gated one), s3://bucket/prefix or a folder. Its config.json,
     tokenizer and card are read, no weights.
Out: config/models/NAME.yaml: the source with its commit, the sizes that the plan asks for, the token that ends a turn
     in its chat template where its tokenizer names another; on the terminal licence, sizes, and what is to be decided.
"""

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from heirloom import stage
from heirloom.config.folders import named_files
from heirloom.config.sections.source import ModelSource
from heirloom.data.datasets_by_hand import place_of
from heirloom.data.first_look.model_files import SMALL_FILES, licence, remarks, shape, tokenizer_changes
from heirloom.data.first_look.written_file import write_config_file
from heirloom.errors import HeirloomError, plain
from heirloom.estimates.model_shape import model_shape
from heirloom.hub import commit_of
from heirloom.json_files import read_json
from heirloom.models.fetching import fetch


def main() -> None:
    options = parse_arguments()
    file = Path("config/models") / f"{options.name or name_of(options.place)}.yaml"
    if other := named_files(Path(), "models").get(file.stem):
        raise HeirloomError(f"{other}: exists already: give another --name, or delete it")
    source = place_of("REPO", options.place, options.revision)
    if "hub" in source:
        source["revision"] = commit_of(source["hub"], "model", options.revision)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / file.stem
        fetch(ModelSource.model_validate(source), folder, SMALL_FILES)
        if not (folder / "config.json").is_file():
            raise HeirloomError(f"{options.place}: has no config.json, so it is no model of transformers")
        said = list(remarks(folder))
        changes, todo = tokenizer_changes(folder)
        config = read_json(folder / "config.json")
        sizes, terms = shape(config), licence(folder)
    value: dict[str, Any] = {"source": source}
    value |= {"tokenizer": changes} if changes else {}
    value |= {} if isinstance(sizes, str) else {"shape": sizes}
    facts = [f"licence: {terms or 'its card names none'}"]
    write_config_file(file, "model", value, [*facts, *(f"TODO {words}" for words in todo)])

    parameters = "" if isinstance(sizes, str) else f", {model_shape(sizes).parameters:,} parameters"
    print(plain(f"wrote {file}: {config.get('model_type')}{parameters}, licence {terms or 'unknown'}"))
    if isinstance(sizes, str):
        said.append(f"the plan knows neither its memory nor its operations: {sizes}")
    if "eos_token" in changes:
        said.append(f"{changes['eos_token']} ends a turn in its chat template, so it is the end token")
    print("\n".join(plain(words) for words in said))
    print(plain("\n".join(f"to decide: {words}" for words in todo)) or "nothing is left to decide")


def name_of(place: str) -> str:
    """Return the name that a place gives a model."""
    last = place.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9_-]+", "-", last).strip("-_") or "my-model"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", metavar="REPO", help="owner/name of the hub, s3://… or a folder")
    parser.add_argument("--name", help="of the file; absent: the place's last part")
    parser.add_argument("--revision", help="commit, branch or tag of the hub; absent: its default branch")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
