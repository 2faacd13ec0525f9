"""Ask git."""

import subprocess

from heirloom.errors import HeirloomError


def git(*words: str) -> str:
    """Return what a git command prints. Raises HeirloomError with git's own words when it fails."""
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HeirloomError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout
