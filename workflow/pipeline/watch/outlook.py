"""What the plan says beside what runs: what is still to do, and what the machines of each stage cost by the hour.

It is made by a process of its own: config and code are edited while somebody watches, and a process keeps what it has
imported and parsed.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from heirloom.errors import plain
from pipeline.ledger import Action, Ledger, open_ledger
from pipeline.paths import DVC_LOCK, DVC_YAML
from pipeline.plan import Cluster, dollars_an_hour
from pipeline.session import cluster_of, profile_config

PROGRAM = Path(__file__).resolve().parents[1]
SLURM_PROFILE = Path("workflow/profiles/slurm/config.yaml")
CONFIG = Path("config")
REST = 10
"""The share of time that may go into it is one in so many."""


def outlook() -> dict[str, Any]:
    """Return {"to_do": [{"stage", "action", "reasons"}], "usd_an_hour": {stage: US dollars}}, in run order.

    Raises HeirloomError for mistakes in the config.
    """
    ledger = open_ledger()
    cluster = cluster_of(profile_config(SLURM_PROFILE)) if SLURM_PROFILE.exists() else Cluster()
    return {"to_do": to_do(ledger), "usd_an_hour": dollars_an_hour(ledger, cluster)}


def to_do(ledger: Ledger) -> list[dict[str, Any]]:
    """Return what the next `snakemake` would bring up to date."""
    verdicts = {name: ledger.verdicts[name] for name in ledger.to_do()}
    words = {Action.RUN: "to run", Action.FOLLOW: "after others", Action.RESTORE: "to restore"}
    return [
        {"stage": name, "action": words[verdict.action], "reasons": verdict.reasons}
        for name, verdict in verdicts.items()
    ]


class Outlook:
    """The newest outlook; made again, in the background, when what it rests on has changed."""

    def __init__(self) -> None:
        self.known: dict[str, Any] | None = None
        """None until the first is made, and while the plan cannot be."""
        self.problem: str | None = None
        """Why it cannot."""
        self._rests_on: Any = None
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def refresh(self, running: list[str]) -> None:
        """Make it again if need be; `running` are the stages that run: one that has ended is another plan."""
        rests_on = [running, stamps()]
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and rests_on != self._rests_on and time.monotonic() >= self._not_before:
            self._rests_on = rests_on
            self._thread = threading.Thread(target=self._make, daemon=True)
            self._thread.start()

    def _make(self) -> None:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(PROGRAM), "outlook"],
            capture_output=True, text=True, encoding="utf-8", errors="replace", check=False,
            start_new_session=True,  # Ctrl-C is for the one that serves the page
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it did not say why"])[0]
            self.known, self.problem = None, plain(said.removeprefix("error: "))
        else:
            self.known, self.problem = json.loads(done.stdout), None
        self._not_before = time.monotonic() + (time.monotonic() - began) * REST


def stamps() -> list[tuple[str, int]]:
    """Return when the files that decide the plan were changed last; code and data are looked at with them."""
    files = [DVC_LOCK, DVC_YAML, *CONFIG.rglob("*")]
    return [(str(file), file.stat().st_mtime_ns) for file in files if file.exists()]
