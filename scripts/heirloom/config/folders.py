"""Which folders of config/ are read: a project's own, and those of others beside them.

A project's own files lie in config/datasets, config/models and config/runs, where Heirloom itself has none. What
it ships lies in folders of the same form below config/, so an upgrade and an edit of one's own never meet in one file.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from heirloom.config.parsing.mistakes import ConfigErrors, Mistake, did_you_mean
from heirloom.config.parsing.named_file import NamedFile
from heirloom.config.parsing.reading import dotted, line_of, parse_yaml

PROJECT_FILE = "config/project.yaml"
SHIPPED = ("demo", "examples")
"""What is read beside one's own unless config/project.yaml says otherwise."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
OTHER_FOLDERS = frozenset({"datasets", "models", "runs", "sweeps", "deepspeed", "chat_templates"})


class ProjectFile(NamedFile):
    """config/project.yaml, which a project may have: what holds for all of it."""

    also_read: list[str] = Field(
        list(SHIPPED),
        description="folders below config/ whose `datasets/`, `models/` and `runs/` are read beside those of config/ "
        "itself; `[]`: none",
    )

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        for name in self.also_read or ():
            if not NAME.fullmatch(name) or name in OTHER_FOLDERS:
                yield "also_read", f"{name!r} is no folder with datasets/, models/ and runs/ in it; name one of config/"


def read_folders(root: Path, mistakes: list[Mistake]) -> list[str]:
    """Return the folders whose datasets/, models/ and runs/ are read, `config` first, relative to `root`.

    What is wrong in config/project.yaml is added to `mistakes`, and what Heirloom ships is read then.
    """
    file = root / PROJECT_FILE
    if not file.exists():
        return ["config", *(f"config/{name}" for name in SHIPPED if (root / "config" / name).is_dir())]
    text, value = "", {}
    try:
        text = file.read_text(encoding="utf-8")
        value = parse_yaml(text, PROJECT_FILE)
    except ConfigErrors as error:
        mistakes += error.mistakes
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(Mistake(PROJECT_FILE, None, "", f"cannot be read ({error}); mend or remove it"))
    checked, problems = ProjectFile.check(value, PROJECT_FILE)
    there = sorted(
        path.name for path in (root / "config").iterdir() if path.is_dir() and path.name not in OTHER_FOLDERS
    )
    if not problems and checked.given("also_read"):
        problems = [
            (("also_read", place), f"there is no folder config/{name}; {did_you_mean(name, there, 'there are')}")
            for place, name in enumerate(checked.also_read)
            if name not in there
        ]
    mistakes += (Mistake(PROJECT_FILE, line_of(text, keys), dotted(keys), problem) for keys, problem in problems)
    named = SHIPPED if problems or checked.also_read is None else checked.also_read
    return ["config", *(f"config/{name}" for name in dict.fromkeys(named) if name in there)]


def named_files(root: Path, kind: str) -> dict[str, Path]:
    """Return name → path, relative to `root`, of the files of a kind (datasets, models, runs, sweeps), right or not.

    Runs of sweeps are among the runs, as far as their files are written.
    """
    places = [kind, "sweeps/*"] if kind == "runs" else [kind]
    found = [
        path
        for folder in read_folders(root, [])
        for place in places
        for path in sorted((root / folder).glob(f"{place}/*.yaml"))
    ]
    return {path.stem: path.relative_to(root) for path in reversed(found)}
