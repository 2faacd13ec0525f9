"""What the launcher asks the ledger: what am I about to execute, is its result known already, is it still the same?"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.launcher.command import Program
from heirloom.launcher.dvc_hashes import out_record, stat_signature

LEDGER = Path("workflow/pipeline")


@dataclass(frozen=True)
class Stage:
    """What is executed: its name, its identity (64 hex digits; None without a ledger), and whether it is done."""

    name: str
    identity: str | None = None
    restored: bool = False
    products: list[str] = field(default_factory=list)
    """Paths of what it makes."""
    reads: dict[str, str | None] = field(default_factory=dict)
    """Path of everything that decides its identity → a short text that changes with an edit."""
    gpus: int | None = None
    """How many of this machine's GPUs it asks for; None: all."""


def begin(program: Program) -> Stage:
    """Return the stage that DVC executes (env DVC_STAGE), or a name made of the command when run by hand.

    Exits with the ledger's own message when it refuses.
    """
    name = os.environ.get("DVC_STAGE")
    if not name:
        output = program.value_of("--output") or program.value_of("--metrics") or ""
        return Stage("-".join(part for part in (program.script.stem, Path(output).stem) if part))
    if not (LEDGER / "__main__.py").is_file():
        return Stage(name)
    words = [program.kind, str(program.script), *program.arguments]
    answer = subprocess.run(
        [sys.executable, str(LEDGER), "begin", name, "--", *words], stdout=subprocess.PIPE, text=True, check=False
    )
    if answer.returncode:
        sys.exit(answer.returncode)
    facts = json.loads(answer.stdout)
    return Stage(name, facts["identity"], facts["restored"], facts["products"], facts["reads"], facts["gpus"])


def made(stage: Stage) -> list[dict] | None:
    """Return what DVC will record of the stage's products, as they are now; None when one of them is missing."""
    found = [out_record(path) for path in stage.products]
    return None if None in found else found


def end(stage: Stage) -> int:
    """Return 0 when DVC may record the result, else the ledger's exit status, after its sentence.

    DVC would record the config, the code and the inputs as they are now. When one of them was touched meanwhile, the
    ledger is asked whether they are still what was executed.
    """
    if all(stat_signature(path) == signature for path, signature in stage.reads.items()):
        return 0
    return subprocess.run([sys.executable, str(LEDGER), "end", stage.name, stage.identity], check=False).returncode
