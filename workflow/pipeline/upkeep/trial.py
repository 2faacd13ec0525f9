"""Small stages executed with the code of before and of now, each in a clean clone, on this machine's CPU.

Each stage of the new code reads what the old code made, so that every comparison is of one stage alone.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from heirloom.artifacts import remove
from heirloom.config.parsing.reading import read_yaml
from heirloom.errors import HeirloomError
from pipeline.code import combination
from pipeline.git import git
from pipeline.ledger import bytes_hash
from pipeline.paths import RECORDS
from pipeline.provenance import CleanClone
from pipeline.upkeep.small_config import STAND_IN, needed_files, write_small

RECORDER = Path(__file__).parents[2] / "recorder"
OURS = ("scripts", "workflow", "rules", "envs")
"""Folders of the project's own code."""


@dataclass(frozen=True)
class Outcome:
    """What executing one small stage with both states of the code gave."""

    before: dict[str, str | None]
    """Path of each product → its hash."""
    after: dict[str, str | None]
    problem: str | None = None
    """Why there is nothing to compare."""
    executed: tuple[dict[str, set[int]], dict[str, set[int]]] = field(default=({}, {}))
    """Path → the lines that were executed, before and after."""

    @property
    def same(self) -> bool:
        return self.problem is None and self.before == self.after


class Side:
    """One of the two clones, with the small config in place."""

    def __init__(self, commit: str, folder: Path, needed: dict[str, set[str]], edited: bool = False) -> None:
        """`edited`: bring the files of this working tree that differ from the commit, too."""
        self.clone = CleanClone(commit, folder)
        self.folder = self.clone.folder
        if edited:
            bring_edits(self.folder)
        write_small(self.folder, needed)
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        done = self._run([sys.executable, "workflow/pipeline", "write"])
        if done.returncode:
            raise HeirloomError(f"commit {commit[:12]} does not take a small config: {last_line(done.stderr)}")
        self.stages = yaml.safe_load((self.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self.makers = {path: name for name in self.stages for path in self.products(name)}

    def products(self, stage: str) -> list[str]:
        """Return the paths that a stage makes, as dvc.yaml has them."""
        listed = [item for key in ("outs", "metrics", "plots") for item in self.stages[stage].get(key, [])]
        return [next(iter(item)) if isinstance(item, dict) else item for item in listed]

    def reads(self, stage: str) -> list[str]:
        """Return the products of other stages that a stage reads."""
        return [path for path in self.stages[stage].get("deps", []) if path in self.makers]

    def combination(self, stage: str) -> str:
        """Return the combination of a stage as the small config has it."""
        described = self.stages[stage]
        params = {
            file: {section: read_yaml(self.folder / file)[section] for section in sections}
            for listed in described.get("params", [])
            for file, sections in listed.items()
        }
        return combination(stage, {"cmd": described["cmd"], "params": params})

    def small_version(self, stage: str, text: str) -> str:
        """Return the stage that stands here for a real one of a combination, which is `text`.

        It has the same name, unless that follows from settings which are smaller here.
        """
        kind = stage.partition("-")[0]
        others = [name for name in self.stages if name.partition("-")[0] == kind and self.combination(name) == text]
        return stage if stage in self.stages or not others else min(others)

    def in_order(self, wanted: Iterable[str]) -> list[str]:
        """Return stages and all that they stand on, each after what it reads."""
        found: dict[str, None] = {}

        def place(name: str) -> None:
            for path in self.reads(name):
                if not self.makers[path].startswith(("check-", "digest-")):
                    place(self.makers[path])
            found.setdefault(name)

        for name in wanted:
            place(name)
        return list(found)

    def execute(self, stage: str) -> tuple[str | None, dict[str, set[int]]]:
        """Execute a stage as by hand, without DVC and the ledger.

        Returns why it failed (None: it did not), and path → lines that its program executed.
        """
        shutil.rmtree(self.folder / RECORDS, ignore_errors=True)  # a report tells of their times
        lines = self.folder / ".heirloom" / "lines" / stage
        lines.mkdir(parents=True)
        words = shlex.split(self.stages[stage]["cmd"])
        recording = {
            "HEIRLOOM_RECORDED": next((word for word in words[2:] if word.endswith(".py")), ""),
            "HEIRLOOM_RECORDED_BELOW": str((self.folder / "scripts").resolve()) + os.sep,
            "HEIRLOOM_RECORDED_IN": str(lines),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(RECORDER), os.environ.get("PYTHONPATH")])),
            "CUDA_VISIBLE_DEVICES": "",  # equal bytes are to be had on CPUs alone
        }
        done = self._run([sys.executable, *words[1:]], recording)
        found: dict[str, set[int]] = {}
        for file in lines.glob("*.json"):
            for path, numbers in json.loads(file.read_text(encoding="utf-8")).items():
                found.setdefault(os.path.relpath(path, self.folder.resolve()), set()).update(numbers)
        return (last_line(done.stdout + done.stderr) if done.returncode else None), found

    def _run(self, words: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        environment = self.clone.environment() | (variables or {})
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, errors="replace", check=False
        )


def last_line(text: str) -> str:
    """Return the last line that says something; of a stage's program if it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error")]
    return (errors or lines or ["no word"])[-1]


def bring_edits(folder: Path) -> None:
    """Bring the project's code as it lies here, uncommitted edits included, into a clone of HEAD."""
    changed = git("diff", "--name-only", "--relative", "HEAD", "--", *OURS).splitlines()
    changed += git("ls-files", "--others", "--exclude-standard", "--", *OURS).splitlines()
    for name in changed:
        if Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def try_out(
    commit: str, wanted: Mapping[str, str], subjects: set[str], folder: Path, tell: Callable[[str], None]
) -> dict[str, Outcome]:
    """Execute small versions of stages with the code of `commit` and with that of the working tree.

    Returns an outcome for each that both configs have. `wanted`: stage → its combination; `subjects`: what the stages
    and those they stand on are of.
    Raises HeirloomError when one of the two takes no small config at all.
    """
    needed = needed_files(subjects)
    before = Side(commit, folder / "before", needed)
    after = Side("HEAD", folder / "after", needed, edited=True)
    stands_for = {after.small_version(name, text): name for name, text in wanted.items()}
    known = [name for name in stands_for if name in before.stages and name in after.stages]
    outcomes: dict[str, Outcome] = {}
    for name in known:
        if (small := after.combination(name)) != (text := wanted[stands_for[name]]):
            odd = sorted(set(small.split()) ^ set(text.split()))
            outcomes[name] = Outcome({}, {}, f"a small version of it is another in {', '.join(odd)}")
    failed: dict[str, str] = {}
    first = [before.makers[path] for path in (STAND_IN,) if path in before.makers]
    for name in before.in_order([*first, *(name for name in known if name not in outcomes)]):
        missing = [before.makers[path] for path in before.reads(name) if before.makers[path] in failed]
        tell(f"executing a small {name}")
        problem, lines = (failed[missing[0]], {}) if missing else before.execute(name)
        if problem is not None:
            failed[name] = problem
            outcomes[name] = Outcome({}, {}, f"with the earlier code its small version fails: {problem}")
            continue
        made = {path: bytes_hash(str(before.folder / path)) for path in before.products(name)}
        if name in first:
            copy(before.folder / STAND_IN, after.folder / STAND_IN)
        if name not in known or name in outcomes:
            continue
        for path in before.reads(name):
            if (before.folder / path).exists() and not path.startswith("workflow/"):
                copy(before.folder / path, after.folder / path)
        problem, lines_after = after.execute(name)
        now = {path: bytes_hash(str(after.folder / path)) for path in after.products(name)}
        if problem is not None:
            now = {"it failed": problem}
        outcomes[name] = Outcome(made, now, None, (lines, lines_after))
    return {stands_for[name]: outcome for name, outcome in outcomes.items() if name in known}


def copy(source: Path, target: Path) -> None:
    """Put a file or a folder in another one's place."""
    remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
