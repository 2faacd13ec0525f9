"""What a local job writes to stdout and stderr, kept from a terminal on which several jobs work side by side."""

import os
import sys
from pathlib import Path

VARIABLE = "HEIRLOOM_JOB_OUTPUT"
"""Environment variable with the folder for it, where the session shows progress by itself."""


def keep_output(stage: str) -> None:
    """Let this process and all that it starts write to FOLDER/STAGE.txt instead, if the session names a folder.

    The stage's own output reaches logs/STAGE.log as ever; what DVC and the workflow add to it is here only.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    path = Path(folder, f"{stage}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
