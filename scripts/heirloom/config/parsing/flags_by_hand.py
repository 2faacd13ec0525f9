"""The run's file with the flags that somebody gave by hand; the rules for them are a program of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from heirloom.code_closure import SCRIPTS
from heirloom.errors import HeirloomError


def run_with_flags(config: Path, flags: list[str], sections: tuple[str, ...], trainer: str | None = None) -> Any:
    """Return the value of the run's file with `flags` put over the keys of its `sections`.

    `scripts/read_flags.py` does it: what it imports can only refuse, and is no code of a stage, which has no flags.
    Raises HeirloomError with its sentences.
    """
    command = [sys.executable, str(SCRIPTS / "read_flags.py"), "--config", str(config), "--read", ",".join(sections)]
    command += ["--trainer", trainer] if trainer else []
    done = subprocess.run([*command, "--", *flags], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HeirloomError(done.stderr.strip())
    return json.loads(done.stdout)
