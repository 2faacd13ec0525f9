"""The README.md of a checkpoint: what it is, what it was made from and how well it does, from the run's own facts.

It is part of the artifact, so it holds what decides the artifact's bytes and nothing else: no time, commit, place or
speed (docs/decisions.md, "The model card").
"""

import importlib.metadata
import sys
from typing import Any

import yaml
from huggingface_hub import ModelCardData

from heirloom.training.checkpoints.provenance import Provenance

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "deepspeed", "accelerate", "datasets", "tokenizers")
"""Libraries that a checkpoint's bytes depend on; a card lists those that the training imported."""


ABOUT_SCORES = (
    "A reward model: `AutoModelForSequenceClassification` loads it, and its one number says how good the answer at the "
    "end of a text is, beside other answers to the same prompt. It writes nothing. The number is taken at the last "
    "token, so a text is to end as those that were learned from (`answer_end` in heirloom.json)."
)
"""What a reader of a reward model's card has to know to use it."""


def model_card(
    name: str,
    trainer: str,
    kind: str,
    provenance: Provenance,
    config: dict[str, Any],
    progress: dict[str, Any],
    held_out: dict[str, dict[str, float]],
    adapter_of: str | None = None,
    scores: bool = False,
) -> str:
    """Return the card as Markdown with the front matter that the Hugging Face Hub reads.

    `name`: of the run. `trainer`: its trainer's name in config/. `kind`: the class behind it, `library.Class`.
    `config`: the run's sections that decide the result. `progress`: {steps, tokens}, with
    {kept_step, end} where held-out rows decided.
    `held_out`: {before, after} → values by name, each empty without held-out rows. `adapter_of`: the path of the whole
    model that an adapter belongs to; None for a whole model. `scores`: it is a reward model.
    """
    front = ModelCardData(
        library_name="transformers" if adapter_of is None else "peft",
        base_model=provenance.lineage[0].get("hub"),
        datasets=hub_datasets(provenance) or None,
        tags=["heirloom", trainer],
        pipeline_tag="text-classification" if scores else None,
    )
    parts = [
        f"---\n{front.to_yaml()}\n---\n\n# {name}",
        f"Trained from {provenance.base['name']} on {provenance.dataset['name']} by `{trainer}` ({kind}): "
        f"{progress['steps']:,} optimizer steps, {progress['tokens']:,} tokens{kept_words(progress)}.\n"
        "Written by Heirloom from the run's own facts; the same inputs give this folder byte for byte."
        + ("" if adapter_of is None else f"\n\n{about_adapter(name, adapter_of)}")
        + (f"\n\n{ABOUT_SCORES}" if scores else ""),
        f"## Base\n\n{lineage_table(provenance)}\n\n"
        "The oldest first, the base last. The hash is that of a listing: "
        "`LC_ALL=C sha256sum *.safetensors | sha256sum` in the model's folder.",
        f"## Data\n\n{data_table(provenance)}\n\n"
        "Likewise `LC_ALL=C sha256sum *.arrow | sha256sum` in the split's folder.",
        f"## Configuration\n\n```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True).rstrip()}\n```",
        f"## Held-out rows\n\n{metrics_table(held_out)}",
        f"## Versions\n\n{', '.join(versions())}",
        f"## How to reproduce\n\n{how_to_reproduce(name)}",
    ]
    return "\n\n".join(parts) + "\n"


def kept_words(progress: dict[str, Any]) -> str:
    """Return which step's state this is and why training ended, where held-out rows decided that."""
    if "kept_step" not in progress:
        return ""
    end = ", which early stopping ended" if progress["end"] == "early_stopping" else ""
    return f"{end}; this is the model after step {progress['kept_step']:,}"


def about_adapter(name: str, model: str) -> str:
    """Return how an adapter and its model are opened."""
    return (
        f"An adapter of `{model}`, whose weights are not in this folder. In the clone's root plain transformers loads "
        f'both (`AutoModelForCausalLM.from_pretrained("checkpoints/{name}")`, with peft installed); '
        f"`python scripts/merge_adapter.py checkpoints/{name} FOLDER` writes them as one model."
    )


def hub_datasets(provenance: Provenance) -> list[str]:
    """Return the hub's datasets that this and the earlier trainings of the chain learned from, each once."""
    datasets = [*(model["dataset"] for model in provenance.lineage if "dataset" in model), provenance.dataset]
    return list(dict.fromkeys(hub for dataset in datasets for hub in dataset["hub"]))


def lineage_table(provenance: Provenance) -> str:
    """Return a table of the models before this one."""
    rows = []
    for model in provenance.lineage:
        hub = f" ({', '.join(model['hub'])})" if "hub" in model else ""
        learned = f"`{model['trainer']}` on {model['dataset']['name']}" if "dataset" in model else "not trained here"
        rows.append([f"{model['name']}{hub}", learned, f"`{model['weights']}`"])
    return table(["model", "how it was made", "SHA-256 of its weights"], rows)


def data_table(provenance: Provenance) -> str:
    """Return a table of the dataset's splits."""
    dataset = provenance.dataset
    hub = f" ({', '.join(dataset['hub'])})" if dataset["hub"] else ""
    rows = [
        [f"{dataset['name']}{hub}", split, f"{facts['rows']:,}" if "rows" in facts else "", f"`{facts['sha256']}`"]
        for split, facts in dataset["splits"].items()
    ]
    return table(["dataset", "split", "rows", "SHA-256 of its rows"], rows)


def metrics_table(held_out: dict[str, dict[str, float]]) -> str:
    """Return a table of what was measured before the first and after the last step."""
    if not held_out["after"]:
        return "Nothing was held out, so nothing was measured."
    rows = [[name, f"{held_out['before'].get(name, '')}", f"{value}"] for name, value in held_out["after"].items()]
    return table(["", "before", "after"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def versions() -> list[str]:
    """Return `name version` of each of PACKAGES that this process has imported."""
    return [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if sys.modules.get(name) is not None]


def how_to_reproduce(name: str) -> str:
    """Return how to find the commit behind this very folder, and how to train it again."""
    return (
        "In a clone of the repository that trained it, with this folder at `FOLDER`:\n\n"
        "```sh\n"
        "python workflow/pipeline origin FOLDER            # the commits that recorded exactly these bytes\n"
        "git checkout COMMIT\n"
        f"dvc pull --with-deps train-{name}\n"
        f"dvc repro --force --single-item train-{name}\n"
        "```"
    )
