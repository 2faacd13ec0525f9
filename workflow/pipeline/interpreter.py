"""Which Python the commands of stages are run by."""

import os
import sys
from pathlib import Path


def interpreter_first_on_path() -> None:
    """Let `python` and `dvc` in a stage's command be those of the environment that runs Snakemake."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + path
