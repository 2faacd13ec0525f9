"""Which state of the repository a program runs from."""

import os
import subprocess

VARIABLE = "HEIRLOOM_COMMIT"
"""Set by a launcher for its program; a machine without git's folder gets it from whoever sent the code there."""
LEDGER = (":(top,exclude,glob)**/dvc.lock", ":(top,exclude,glob)**/.dvc/history.jsonl")
"""Written while stages run, so a change there says nothing about the code or the configuration. The project may be a
folder of a larger repository, and a script may be started in a folder of the project."""


def current_commit() -> str | None:
    """Return the commit that is checked out, with `-dirty` where files differ from it or git knows nothing of them.

    None outside a repository. The environment's HEIRLOOM_COMMIT comes first.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return given
    try:
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--", ":/", *LEDGER)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
