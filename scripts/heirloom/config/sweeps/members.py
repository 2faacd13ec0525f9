"""The runs that a sweep stands for: names, values, and the text of the file that each of them gets."""

import copy
import functools
import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from heirloom.config.parsing.named_file import Problems
from heirloom.config.parsing.reading import dotted
from heirloom.config.sweeps.sweep import SEED, Keys, Sweep

LONGEST_NAME = 63
WRITTEN = "# Written from config/"
"""How each file of a member begins; one that begins otherwise is somebody's own run."""
HEADER = WRITTEN + "{} by `make dvc.yaml`: do not edit it. `make promote` makes a run of your own of it.\n"


@dataclass(frozen=True)
class Member:
    """One run of a sweep."""

    name: str
    path: str
    """Its file, relative to the root, whether it is written already or not."""
    value: dict[str, Any]
    """What the file says."""
    text: str
    places: tuple[tuple[str, Keys], ...]
    """The keys that are varied, and where in the sweep's file the value of this member stands."""
    sweep: str
    """The sweep's file."""
    base: str
    """The file of the run that it starts from."""

    def as_json(self) -> dict[str, Any]:
        """Return what `Member.from_json` makes a member of, in JSON's own types."""
        return {**vars(self), "places": [[key, list(place)] for key, place in self.places]}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Member":
        """Return the member again."""
        places = tuple((key, tuple(place)) for key, place in found["places"])
        return cls(**{**found, "places": places})

    def place(self, keys: Keys) -> Keys | None:
        """Return where the sweep's file says what a key of the run has, or lies in or around; None: nowhere."""
        mine = dotted(keys)
        around = [
            (len(key), place)
            for key, place in self.places
            if mine == key or mine.startswith((f"{key}.", f"{key}[")) or key.startswith(f"{mine}.")
        ]
        return max(around)[1] if around else None


def expand(sweep: Sweep, base: dict[str, Any], base_path: str) -> tuple[list[Member], Problems]:
    """Return the members of a sweep that is right by itself, and what stands in the way of the others.

    `base` is what the file of the run says, `base_path` is that file.
    """
    members: dict[str, Member] = {}
    problems: Problems = []
    folder, texts = sweep.path.removesuffix(".yaml"), {}
    for setting in settings(sweep):
        value = copy.deepcopy(base)
        value.pop("enabled", None)
        if sweep.enabled is False:
            value = {"enabled": False, **value}
        # a key that cannot be put in is wrong whatever its value: of a grid that is told of the key
        wrong = [(place[:2] if place[0] == "grid" else place, put(value, key, new)) for key, place, new in setting]
        wrong = [(place, problem) for place, problem in wrong if problem is not None]
        if wrong:
            problems += wrong
            continue
        name = name_of(sweep.name, [(key, new) for key, _, new in setting])
        places = tuple((key, place) for key, place, _ in setting)
        text = text_of(value, sweep.path, texts)
        member = Member(name, f"{folder}/{name}.yaml", value, text, places, sweep.path, base_path)
        other = members.setdefault(name, member)
        if other is not member:
            place, others = setting[0][1], " and ".join(dotted(place) for _, place in other.places)
            problems.append((place, f"the run would be called {name}, as that of {others}; leave one of them out"))
    return list(members.values()), list(dict.fromkeys(problems))


def settings(sweep: Sweep) -> Iterator[list[tuple[str, Keys, Any]]]:
    """Yield for each member (key, where it stands in the sweep's file, value), by the key's name, the seed last."""
    by_key: dict[str, list[tuple[str, Keys, Any]]] = {}
    points: dict[int, list[tuple[str, Keys, Any]]] = {}
    for place, key, value in sweep.named:
        if place[0] == "grid":
            by_key.setdefault(key, []).append((key, place, value))
        else:
            points.setdefault(place[1], []).append((key, place, value))
    of_grid = itertools.product(*(values for _, values in sorted(by_key.items())))
    seeds = [[(SEED, ("seeds", index), seed)] for index, seed in enumerate(sweep.seeds or ())]
    for point, seed in itertools.product(points.values() if points else of_grid, seeds or [[]]):
        yield [*sorted(point, key=lambda one: one[0]), *seed]


def put(value: dict[str, Any], key: str, new: Any) -> str | None:
    """Give a run's value another one at a dotted key, None: take the key away; return what stands in the way."""
    *sections, last = key.split(".")
    inner = value
    for depth, section in enumerate(sections):
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            around = ".".join(sections[: depth + 1])
            return f"there is no such key, as {around} holds no keys; name another, or {around} itself"
    if new is None:
        inner.pop(last, None)
    else:
        inner[last] = copy.deepcopy(new)
    return None


# ---- names ----


def name_of(sweep: str, values: Iterable[tuple[str, Any]]) -> str:
    """Return the name of a member: `sweep-learning_rate1e-5-seed2`, the last part of each key with its value.

    Of a name that would be too long the beginning stays, with a digest of the values.
    """
    values = list(values)
    last = [key.rpartition(".")[2] for key, _ in values]
    words = [
        f"{short if last.count(short) == 1 else key.replace('.', '_')}{word(value)}"
        for short, (key, value) in zip(last, values, strict=True)
    ]
    name = fit("-".join([sweep, *words]))
    if len(name) <= LONGEST_NAME:
        return name
    told = json.dumps([[key, value] for key, value in values], sort_keys=True, default=str)
    digest = hashlib.blake2b(told.encode(), digest_size=4).hexdigest()
    return f"{name[: LONGEST_NAME - len(digest) - 1].rstrip('-_')}-{digest}"


def word(value: Any) -> str:
    """Return a value as a part of a name: 1e-5, 0_1, true, none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return re.sub(r"e([-+])0*(\d)", lambda exponent: f"e{exponent[1].strip('+')}{exponent[2]}", f"{value:.12g}")
    if isinstance(value, dict):
        return "-".join(f"{key}{word(inner)}" for key, inner in value.items())
    return "-".join(map(word, value)) if isinstance(value, list) else str(value)


def fit(name: str) -> str:
    """Return a name with `_` for a point, and `-` for all else that a name cannot have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name.replace(".", "_")).strip("-")


# ---- texts ----


def text_of(value: dict[str, Any], sweep: str, known: dict[tuple[str, str], str]) -> str:
    """Return the text of a member's file; `known` keeps the texts of sections, which most members share."""
    text = HEADER.format(sweep.removeprefix("config/"))
    for key, section in value.items():
        content = (key, repr(section))
        if content not in known:
            lines = io.StringIO()
            dumper().dump({key: section}, lines)
            known[content] = lines.getvalue()
        text += known[content]
    return text


@functools.cache
def dumper() -> YAML:
    """Return what writes YAML 1.2, which DVC reads, in block style, the keys in their own order."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = True
    yaml.width = 120
    return yaml


def is_written(content: bytes) -> bool:
    """Whether a file, or its beginning, is one that was written here."""
    return content.startswith(WRITTEN.encode())


# ---- mistakes ----


def told_at_sweep(
    found: Iterable[tuple[Member, Keys, str]], of_base: Iterable[tuple[Keys, str]], sweep: Sweep
) -> Iterator[tuple[Keys, str]]:
    """Yield what is wrong with the members of a sweep, once, and where in its file: (nested keys, sentence).

    What the run that they start from has wrong (`of_base`) is told of that run.
    """
    known = set(of_base)
    by_problem: dict[tuple[Keys, str], list[Member]] = {}
    for member, keys, problem in found:
        if (keys, problem) not in known:
            by_problem.setdefault((keys, problem), []).append(member)
    for (keys, problem), members in by_problem.items():
        places = sorted({place for member in members if (place := member.place(keys)) is not None}, key=str)
        if not places:
            more = f" (and {len(members) - 1} more)" if len(members) > 1 else ""
            inside = f"{dotted(keys)}: " if keys else ""
            yield ("run",), f"with the values of {members[0].name}{more}: {inside}{problem}"
        elif places[0][0] == "list":
            yield places[0], problem  # the same key in the next items is wrong for the same reason
        elif len(places) == len(sweep.seeds if places[0][0] == "seeds" else sweep.grid[places[0][1]]):
            yield places[0][:-1], problem
        else:
            yield from ((place, problem) for place in places)
