"""Test prompts that the chain of runs behind a model has trained on."""

import sys
from pathlib import Path

from heirloom.data.processed_dataset import read_description
from heirloom.data.seen_prompts import asked, read_keys, seen_rows, tell_seen
from heirloom.errors import plain
from heirloom.models.model_facts import read_facts


def tell_prompts_of_chain(dataset: Path, model: Path) -> None:
    """Warn on stderr when prompts of a dataset's test split were trained on in the chain of runs behind a model.

    The datasets of the chain are looked for beside `dataset`, and taken only if their rows are still those that were
    trained on; one that cannot be compared is named.
    """
    test = read_keys(dataset, "test")
    facts = read_facts(model)
    learned = [one["dataset"] for one in (*facts.get("lineage", []), facts) if "dataset" in one]
    for name, sha256 in {one["name"]: one["splits"].get("train", {}).get("sha256") for one in learned}.items():
        folder = dataset.parent / name
        here = (folder / "dataset.json").is_file()
        same = here and read_description(folder).get("splits", {}).get("train", {}).get("sha256") == sha256
        train = read_keys(folder, "train") if same else None
        if test is None or train is None:
            asked_what = f"whether {dataset.name} asks what {name} trained on"
            print(plain(f"note: {asked_what} is not known: {folder} is not here as it was then"), file=sys.stderr)
        else:
            rows = len(asked(test))
            tell_seen(f"the test split of {dataset.name}", len(seen_rows(test, train)), rows, name)
