"""A generator of malformed inputs: what may be wrong with every file that planning reads, and with what is typed.

A case is a name, what it does to a project, and what is right: `refuse` (one sentence that names the place) or `heal`
(planning goes on, as the file is only a copy or a shortcut). Nothing is right that is a trace, that hangs, or that
takes a wrong value.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
TEXTS = {
    "empty": b"",
    "zeros": bytes(64),
    "no UTF-8": b"\xff\xfe\xfa base: x\n",
    "a number": b"7\n",
    "a list": b"[1, 2]\n",
    "a text": b"nothing else\n",
    "nested 3000 deep": b"[" * 3000 + b"]" * 3000 + b"\n",
    "billion laughs": LAUGHS.encode(),
    "an alias to itself": b"a: &a {b: *a}\n",
    "an open bracket": b"{base: [x\n",
    "conflict marks": b"<<<<<<< ours\na: 1\n=======\na: 2\n>>>>>>> theirs\n",
    "too large": b"a: 1  # " + b"x" * 1_100_000 + b"\n",
}
VALUES = {
    "NaN": float("nan"), "infinity": float("inf"), "minus infinity": float("-inf"), "below zero": -2,
    "400 digits": 10**400, "a text": "much", "a list": [1], "a mapping": {"a": 1}, "nothing": None,
}  # fmt: skip
CONFIG = ("config/runs/sft.yaml", "config/datasets/chats.yaml", "config/models/tiny.yaml")
NUMBERS = ("learning_rate", "max_steps", "global_batch_size", "per_device_train_batch_size", "seed", "num_train_epochs")
SHAPES = {"null": None, "a text": "text", "a number": 3, "a list": [1], "a mapping": {"x": 1}, "an empty list": []}


@dataclass(frozen=True)
class Case:
    """One malformed input. `settings` are typed beside it."""

    name: str
    harm: Callable[[Path], None]
    right: str
    place: str = ""
    """What the sentence must name."""
    settings: tuple[tuple[str, str], ...] = ()


def cases() -> Iterator[Case]:
    """Yield every case."""
    for file in CONFIG:
        for name, content in TEXTS.items():
            yield Case(f"{file}: {name}", written(file, content), "refuse", file)
        for name, harm in odd_files(file):
            yield Case(f"{file}: {name}", harm, "refuse", file)
    for key in NUMBERS:
        for name, value in VALUES.items():
            file = "config/runs/sft.yaml"
            yield Case(f"{file}: training.{key}: {name}", with_value(file, ("training", key), value), "refuse", key)
    for name, settings in DEEPSPEED.items():
        harm = with_deepspeed(settings)
        yield Case(f"deepspeed file: {name}", harm, "refuse", "config/deepspeed/odd.json")
    for path in (".", "..", "/dev/null", "nowhere.jsonl", "checkpoints/sft", "generations/sft/content.txt"):
        harm = with_value("config/datasets/chats.yaml", ("source", "path"), path)
        yield Case(f"source.path: {path}", harm, "refuse", "source.path")
    for name, make in LINKS.items():
        yield Case(f"raw folder: {name}", raw_folder(make), "refuse", "raw")
    for name, content in TEMPLATES.items():
        yield Case(f"chat template: {name}", with_template(content), "refuse", "tokenizer.chat_template: my.jinja")
    for name, (file, keys, value) in TOLD_BEFORE_A_STAGE.items():
        yield Case(name, with_value(file, keys, value), "refuse", keys[-1])
    for name, remove in (("config", "config"), ("config/runs", "config/runs")):
        yield Case(f"{name} is a file", instead(remove), "refuse", name)
        yield Case(f"{name} is not there", without(remove), "refuse", name)
    yield from recorded()
    for setting in ("runs", "force"):
        for text in ("", ",", "sft,", " ", "nowhere", "1e3", "[", "*," * 3):
            yield Case(f"{setting}={text}", lambda _: None, "refuse", setting_place(text), ((setting, text),))


def setting_place(text: str) -> str:
    return "name is missing" if not all(part.strip() for part in text.split(",")) else "is called"


def recorded() -> Iterator[Case]:
    """Yield what may be wrong with what is recorded: dvc.lock, the history, markers, what is remembered."""
    for name, content in TEXTS.items():
        yield Case(f"dvc.lock: {name}", written("dvc.lock", content), "heal")
        yield Case(f"history: {name}", written(".dvc/history.jsonl", content), "heal")
        yield Case(f"marker: {name}", written(".heirloom/markers/checkpoints/sft", content), "heal")
        yield Case(f"fingerprints: {name}", written(".heirloom/cache/fingerprints.json", content), "heal")
        yield Case(f"parsed config: {name}", written(".heirloom/cache/config.json", content), "heal")
        yield Case(f"record: {name}", written(".heirloom/records/train-sft.json", content), "heal")
    for file in ("dvc.lock", ".dvc/history.jsonl"):
        yield Case(f"{file}: a folder", instead_a_folder(file), "refuse", file)
    for name, harm in odd_files("checkpoints/sft/content.txt"):
        if name != "a pipe":
            yield Case(f"artifact: {name}", harm, "heal")
    for key in ("cmd", "deps", "outs", "params"):
        for name, value in SHAPES.items():
            yield Case(
                f"dvc.lock: {key} is {name}", with_value("dvc.lock", ("stages", "train-sft", key), value), "heal"
            )
            harm = changed_json(".heirloom/markers/checkpoints/sft", key, value)
            yield Case(f"marker: {key} is {name}", harm, "heal")
    for key in ("stage", "identity", "outs", "record"):
        for name, value in SHAPES.items():
            harm = changed_json(".dvc/history.jsonl", key, value)
            yield Case(f"history: {key} is {name}", harm, "heal")
    for name, text in DVC_SETTINGS.items():
        harm = written(".dvc/config.local", text.encode())
        yield Case(f".dvc/config.local: {name}", harm, "refuse", "DVC's settings")
    harm = written(".dvc/config.local", b"\x89\xff\x00[core]")
    yield Case(".dvc/config.local: random bytes", harm, "refuse", "DVC's settings")
    yield Case("cache listing: no JSON", damaged_listings, "heal")


DVC_SETTINGS = {
    "no INI": "[[[",
    "unknown option": "[core]\n    colour = red\n",
    "unknown kind of link": "[cache]\n    type = x\n",
    "remote without url": "['remote \"a\"']\n    jobs = 1\n",
}
LINKS = {
    "a link that leads nowhere": lambda folder: (folder / "x.jsonl").symlink_to("nowhere"),
    "a link to itself": lambda folder: (folder / "x.jsonl").symlink_to("x.jsonl"),
    "a link to the folder above": lambda folder: (folder / "x").symlink_to(".."),
}
TEMPLATES = {
    "a folder": None,
    "random bytes": b"\x89\xff\x00{{",
    "no Jinja": b"{% for x in y %}",
    "a filter": b"{{ x|no }}",
}
TOLD_BEFORE_A_STAGE = {
    "a tokenizer of chats": ("config/models/tiny.yaml", ("tokenizer", "train_on"), "chats"),
    "heads that do not divide": ("config/models/tiny.yaml", ("init", "num_attention_heads"), 3),
}
DEEPSPEED = {
    "bf16: true": {"bf16": True, "zero_optimization": {"stage": 0}},
    "zero_optimization a text": {"zero_optimization": "all"},
    "stage 7": {"zero_optimization": {"stage": 7}},
    "nothing": {},
    "a list": [],
}


# ---- what is done to a project ----


def written(file: str, content: bytes) -> Callable[[Path], None]:
    def harm(project: Path) -> None:
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_bytes(content)

    return harm


def cut(file: str, chance: random.Random) -> Callable[[Path], None]:
    """Cut a file at a random length, as a full disk or a killed process leaves one that is rewritten in place."""

    def harm(project: Path) -> None:
        content = (project / file).read_bytes()
        (project / file).write_bytes(content[: chance.randrange(len(content))])

    return harm


def odd_files(file: str) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield what may lie in a file's place that is no file."""
    yield "a folder", instead_a_folder(file)
    yield "a link that leads nowhere", in_place_of(file, lambda path: path.symlink_to("nowhere"))
    yield "a link to itself", in_place_of(file, lambda path: path.symlink_to(path.name))
    yield "a pipe", in_place_of(file, os.mkfifo)


def in_place_of(file: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def harm(project: Path) -> None:
        (project / file).unlink()
        make(project / file)

    return harm


def instead_a_folder(file: str) -> Callable[[Path], None]:
    return in_place_of(file, Path.mkdir)


def instead(folder: str) -> Callable[[Path], None]:
    def harm(project: Path) -> None:
        (project / folder).rename(project / "elsewhere")
        (project / folder).write_text("a file\n")

    return harm


def without(folder: str) -> Callable[[Path], None]:
    return lambda project: (project / folder).rename(project / "elsewhere")


def with_value(file: str, keys: tuple[str, ...], value) -> Callable[[Path], None]:
    """Set a nested key of a YAML file."""

    def harm(project: Path) -> None:
        yaml = YAML(typ="safe")
        yaml.default_flow_style = False
        content = yaml.load(project / file)
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        yaml.dump(content, project / file)

    return harm


def raw_folder(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Let a dataset be a folder of raw files with something odd among them."""

    def harm(project: Path) -> None:
        (project / "raw").mkdir()
        (project / "raw/a.jsonl").write_text('{"messages": []}\n')
        make(project / "raw")
        with_value("config/datasets/chats.yaml", ("source", "path"), "raw")(project)

    return harm


def with_template(content: bytes | None) -> Callable[[Path], None]:
    """Let a model name a chat template of that content; None: a folder."""

    def harm(project: Path) -> None:
        (project / "my.jinja").mkdir() if content is None else (project / "my.jinja").write_bytes(content)
        with_value("config/models/tiny.yaml", ("tokenizer", "chat_template"), "my.jinja")(project)

    return harm


def with_deepspeed(settings) -> Callable[[Path], None]:
    def harm(project: Path) -> None:
        (project / "config/deepspeed/odd.json").write_text(json.dumps(settings))
        with_value("config/runs/sft.yaml", ("deepspeed",), "odd")(project)

    return harm


def changed_json(file: str, key: str, value) -> Callable[[Path], None]:
    """Set a key in the last line of a file of JSON."""

    def harm(project: Path) -> None:
        *before, last = (project / file).read_text().splitlines()
        (project / file).write_text("\n".join([*before, json.dumps({**json.loads(last), key: value})]) + "\n")

    return harm


def damaged_listings(project: Path) -> None:
    for listing in (project / ".dvc/cache/files/md5").rglob("*.dir"):
        listing.chmod(0o644)
        listing.write_text("[{")
