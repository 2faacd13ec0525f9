"""What a report shows of run files in config/: their identity, flat, compared and drawn as a lineage."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heirloom.config.parsing.reading import read_yaml

REPORTED = (
    "base", "dataset", "trainer", "deepspeed", "training", "peft", "quantization", "generation", "evaluation",
    "gates",
)  # fmt: skip
"""The keys of a run's file that decide its results and its gates; `tracking` and `resources` are not among them."""

Config = dict[str, Any]


def read_run_config(file: Path, sections: Iterable[str] = REPORTED) -> Config:
    """Return those of the `sections` that a run's file has, in the order of REPORTED.

    Raises ConfigErrors when the file is missing or is not YAML.
    """
    config, wanted = read_yaml(file), set(sections)
    return {name: config[name] for name in REPORTED if name in wanted and name in config}


def flat_config(config: Config) -> dict[str, Any]:
    """Return `training.learning_rate` → value for every field, nested ones too."""
    flat: dict[str, Any] = {}

    def add(value: Any, name: str) -> None:
        if isinstance(value, dict) and value:
            for key, part in value.items():
                add(part, f"{name}.{key}" if name else str(key))
        else:
            flat[name] = value

    add(config, "")
    return flat


def datasets_in(config: Config) -> list[str]:
    """Return the datasets that a run names: to train on, to answer, to be measured on."""
    named = [config.get("dataset"), *((config.get(part) or {}).get("dataset") for part in ("generation", "evaluation"))]
    return list(dict.fromkeys(name for name in named if name is not None))


def in_lineage_order(configs: dict[str, Config]) -> dict[str, Config]:
    """Return the runs by name, each after the run that it starts from."""
    ordered: dict[str, Config] = {}

    def add(name: str) -> None:
        base = configs[name].get("base")
        if base in configs and base not in ordered:
            add(base)
        ordered.setdefault(name, configs[name])

    for name in sorted(configs):
        add(name)
    return ordered
