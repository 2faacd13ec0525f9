"""The one question that the launcher asks the ledger: what am I about to execute, and is its result known already?"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from heirloom.launcher.command import Program

LEDGER = Path("workflow/pipeline")


@dataclass(frozen=True)
class Stage:
    """What is executed: its name, its identity (64 hex digits; None without a ledger), and whether it is done."""

    name: str
    identity: str | None = None
    restored: bool = False


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
    answer = subprocess.run(
        [sys.executable, str(LEDGER), "begin", name], stdout=subprocess.PIPE, text=True, check=False
    )
    if answer.returncode:
        sys.exit(answer.returncode)
    facts = json.loads(answer.stdout)
    return Stage(name, facts["identity"], facts["restored"])
