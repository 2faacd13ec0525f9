"""What is written about an execution beside the ledger: its log, and a record of times, commit, machine and versions.

Neither is an artifact: artifacts hold nothing that differs between two executions.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heirloom.arithmetic.processor import RECORDED
from heirloom.errors import plain
from heirloom.launcher import job_machine
from heirloom.launcher.command import Program
from heirloom.launcher.ledger import Stage
from heirloom.launcher.processes import say
from heirloom.launcher.ranks import Ranks
from heirloom.records.measured import THROUGHPUT

PACKAGES = ("torch", "transformers", "trl", "peft", "deepspeed", "accelerate", "datasets", "tokenizers", "numpy")
NOTES = "notes.json"
"""The file in a work folder in which a program leaves its notes, a list of sentences."""
SECRET_FLAG = re.compile(r"--(.*[-_])?(token|secrets?|passwords?|api[-_]?keys?)([-_].*)?", re.IGNORECASE)


@dataclass
class Execution:
    exit_code: int | None = None
    outs: list[dict] | None = None
    """What dvc.lock will record of the products of a success: proof that this execution made them."""
    notes: list[str] = field(default_factory=list)
    """What the program had to say of this execution, such as a check that it left out."""
    measured: dict[str, Any] = field(default_factory=dict)
    """What steps and memory took, see `heirloom.records.measured`."""
    arithmetic: dict[str, str] = field(default_factory=dict)
    """The instruction sets that ranks on CPUs computed with; empty for other programs."""


def log_file(stage: str) -> Path:
    """Begin logs/STAGE.log anew and return it. In a cluster's job both it and the terminal begin with the machine."""
    path = Path("logs") / f"{stage}.log"
    path.parent.mkdir(exist_ok=True)
    lines = job_machine.first_lines()
    if lines:
        say(lines.rstrip("\n"))
    with suppress(OSError):  # a full disk is told of when the program's output goes there
        path.write_text(lines, encoding="utf-8")
    return path


def tell_failure(stage: str, error: str) -> None:
    """Say why a stage failed where people look: on the terminal, and as the last line of logs/STAGE.log."""
    sentence = f"{stage} failed: {plain(error)}\n"
    sys.stderr.write(sentence)
    sys.stderr.flush()
    with suppress(OSError), Path("logs", f"{stage}.log").open("a", encoding="utf-8") as log:
        log.write(sentence)


@contextmanager
def execution(program: Program, stage: Stage, ranks: Ranks, commit: str | None) -> Iterator[Execution]:
    """Write .heirloom/records/STAGE.json when the block ends, however it ends."""
    facts = Execution()
    started = time.time()
    try:
        yield facts
    finally:
        record = {
            "stage": stage.name,
            "identity": stage.identity,
            "commit": commit,
            "command": [program.kind, str(program.script), *without_secrets(program.arguments)],
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 2),
            "exit_code": facts.exit_code,
            "outs": facts.outs,
            "notes": facts.notes,
            "ranks": {"nodes": ranks.nodes, "per_node": ranks.per_node, "device": ranks.device},
            "arithmetic": facts.arithmetic,
            "measured": facts.measured,
            "machine": {"system": platform.platform(), "processor": processor(), "cores": os.cpu_count()},
            "versions": {"python": platform.python_version(), **versions()},
        }
        path = Path(".heirloom/records") / f"{stage.name}.json"
        try:
            write(record, path)
        except OSError as error:  # a full disk, which has a better sentence to end with
            print(f"{path} cannot be written ({error.strerror})", file=sys.stderr, flush=True)


def notes_in(work: Path) -> list[str]:
    """Return the notes that a program has left in its work folder."""
    file = work / NOTES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def arithmetic_in(work: Path) -> dict[str, str]:
    """Return what ranks have left in their work folder of the instruction sets that they compute with."""
    file = work / RECORDED
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def keep_throughput(work: Path, stage: str) -> None:
    """Put what a training has left of its speed and memory to .heirloom/throughput/STAGE.csv, in one go.

    What an earlier execution left there goes: it would be taken for this one's.
    """
    found, kept = work / THROUGHPUT, Path(".heirloom/throughput") / f"{stage}.csv"
    with suppress(OSError):  # a full disk is told of by what matters more
        kept.unlink(missing_ok=True)
        if found.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(".partial")
            shutil.copyfile(found, partial)
            partial.replace(kept)


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def without_secrets(arguments: tuple[str, ...]) -> list[str]:
    """Return the arguments with the value of every flag that names a secret replaced by ***."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        secret = SECRET_FLAG.fullmatch(flag) is not None
        if hide_next:
            shown.append("***")
        elif secret and equals:
            shown.append(f"{flag}=***")
        else:
            shown.append(argument)
        hide_next = secret and not equals
    return shown


def processor() -> str:
    """Return the processor's name as Linux tells it, else Python's."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that training results depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
