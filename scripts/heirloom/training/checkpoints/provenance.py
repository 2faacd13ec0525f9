"""What a checkpoint was made from: the models before it and the rows that each learned from, with their hashes.

Every fact follows from the content of the inputs and from the names of their folders, so that it is the same whether
a stage was run by hand, by DVC or by Snakemake, and does not change when the code or the place does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.content_hashes import content_hash
from heirloom.data.processed_dataset import read_description
from heirloom.models.model_facts import read_facts
from heirloom.models.weights import weights_hash

PASSED_ON = ("hub", "trainer", "dataset")
"""What a model's heirloom.json tells to those that are made from it."""


@dataclass(frozen=True)
class Provenance:
    """`lineage`: the models before this one, the oldest first, the base last. `dataset`: what is trained on.

    A model is {name, weights} and, where known, {hub, trainer, dataset}; `weights` is `weights_hash` of its folder.
    A dataset is {name, hub, splits}; `hub` lists repositories, a split has {sha256} and, where noted, {rows}.
    """

    lineage: list[dict[str, Any]]
    dataset: dict[str, Any]

    @property
    def base(self) -> dict[str, Any]:
        """The model that the training starts from."""
        return self.lineage[-1]

    @property
    def root(self) -> str:
        """The name of the model at the beginning of the chain."""
        return self.lineage[0]["name"]


def trace(base: Path, dataset: Path) -> Provenance:
    """Return where a training on the folders `base` and `dataset` comes from. Reads all of the base's weights."""
    return Provenance(lineage_of(base), dataset_facts(dataset))


def lineage_of(model: Path) -> list[dict[str, Any]]:
    """Return the models before `model` and itself, the oldest first."""
    facts = read_facts(model)
    itself = {"name": model.absolute().name, "weights": weights_hash(model)}
    itself |= {name: facts[name] for name in PASSED_ON if name in facts}
    return [*facts.get("lineage", []), itself]


def dataset_facts(dataset: Path) -> dict[str, Any]:
    """Return name, hub repositories, rows and hashes of a processed dataset.

    The hashes were noted when the dataset was written; one that was written by other means is read and hashed.
    """
    description = read_description(dataset)
    splits = {}
    for split in ("train", "test"):
        noted = description.get("splits", {}).get(split, {})
        if (dataset / split).is_dir():
            sha256 = noted.get("sha256") or content_hash((dataset / split).glob("*.arrow"))
            splits[split] = {**({"rows": noted["rows"]} if "rows" in noted else {}), "sha256": sha256}
    return {"name": dataset.absolute().name, "hub": description.get("hub", []), "splits": splits}
