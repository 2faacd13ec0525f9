"""A file in config/sweeps/: many runs from one, which differ in the values of some keys."""

import json
import math
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from heirloom.config.parsing.named_file import NamedFile, Problems

MOST_MEMBERS = 10_000
SEED = "training.seed"
Keys = tuple[str | int, ...]
Grid = dict[str, list[Any]]
Points = list[dict[str, Any]]
Seeds = list[int]


class Sweep(NamedFile):
    """A run to start from, and what its members have otherwise."""

    enabled: bool = Field(True, description="false: checked, but its members are no part of the workflow")
    run: str = Field(
        description="run in config/runs/ that all members start from; whether it is enabled itself makes no difference"
    )
    grid: Grid | None = Field(
        None,
        description="values by key, the key with dots (`training.learning_rate: [1e-5, 3e-5]`): a member for each "
        "combination; the value `null`: without the key",
    )
    list: Points | None = Field(None, description="a member for each item: its keys, with dots, and their values")
    seeds: Seeds | None = Field(None, description="values of training.seed: each of the others once for each of them")

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if not any(map(self.given, ("grid", "list", "seeds"))):
            yield "grid", "this sweep varies nothing; give grid, list or seeds"
        if self.given("grid") and self.given("list"):
            yield "list", "cannot be combined with grid; delete one of them, or make two sweeps"

    @property
    def named(self) -> Iterator[tuple[Keys, str, Any]]:
        """Where each value of grid or list stands, its key and the value."""
        for key, values in (self.grid or {}).items():
            yield from ((("grid", key, index), key, value) for index, value in enumerate(values))
        for index, point in enumerate(self.list or ()):
            yield from ((("list", index, key), key, value) for key, value in point.items())


def sweep_problems(sweep: Sweep) -> Problems:
    """Return what is wrong with a sweep by itself, whatever run it starts from: (nested keys, sentence)."""
    problems: Problems = [
        (keys, "has no values; give some or delete the key")
        for keys, given in (
            (("grid",), sweep.grid),
            (("list",), sweep.list),
            (("seeds",), sweep.seeds),
            *((("grid", key), values) for key, values in (sweep.grid or {}).items()),
            *((("list", index), point) for index, point in enumerate(sweep.list or ())),
        )
        if given is not None and not given
    ]
    rows: list[tuple[Keys, list[Any]]] = [(("grid", key), values) for key, values in (sweep.grid or {}).items()]
    for keys, values in [*rows, (("list",), sweep.list or []), (("seeds",), sweep.seeds or [])]:
        seen: dict[str, int] = {}
        for index, value in enumerate(values):
            first = seen.setdefault(json.dumps(value, sort_keys=True, default=str), index)
            if first != index:
                problems.append(((*keys, index), f"is the same as item {first}, counted from 0; delete one of them"))
    problems += key_problems(sweep)
    count = math.prod(len(values) for _, values in rows) if rows else len(sweep.list or [None])
    count *= len(sweep.seeds or [None])
    if count > MOST_MEMBERS:
        problems.append(((), f"these are {count:,} runs, and a sweep has at most {MOST_MEMBERS:,}; leave some out"))
    return problems


def key_problems(sweep: Sweep) -> Iterator[tuple[Keys, str]]:
    """Yield what is wrong with the keys that are varied, each once."""
    told: set[str] = set()
    for place, key, value in sweep.named:
        place, parts = place[:2] if place[0] == "grid" else place, key.split(".")
        others = sweep.grid if place[0] == "grid" else sweep.list[place[1]]
        outer = next((other for other in others if other != key and key.startswith(f"{other}.")), None)
        problem = None
        if not all(parts):
            problem = "is no key; write a section and its key with a dot between, training.learning_rate"
        elif key == "enabled":
            problem = "cannot be varied; `enabled:` of the sweep holds for all its members"
        elif outer is not None:
            problem = f"lies within {outer}, which is varied too; put it into the values of that, or delete one of them"
        elif sweep.seeds is not None and (key == SEED or (key == "training" and "seed" in mapping(value))):
            problem = "is what seeds vary; delete one of them"
        if problem is not None and (key, problem) not in told:
            told.add((key, problem))
            yield place, problem


def mapping(value: Any) -> dict[str, Any]:
    """Return a value that is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}
