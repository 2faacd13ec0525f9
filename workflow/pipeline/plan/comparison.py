"""What this working copy adds to a commit: the stages that would run here and not there, in hours and dollars.

The commit's plan is made by its own code in a clone below $TMPDIR, which is deleted. Of its data it counts what is
recorded, wherever that lies: a clone has none.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from pipeline.git import git
from pipeline.plan.budgets import money
from pipeline.plan.quotation import Quotation
from pipeline.plan.table import hours, stage_json

KEYS = ("low", "expected", "high")
SHOWN = 5
"""So many stages are named in a line."""


@dataclass(frozen=True)
class Share:
    """Stages that one of two plans has alone: their names, seconds and dollars as far as they are known."""

    stages: list[str]
    seconds: dict[str, int]
    usd: float | None
    """On demand; None where no price is known, or there is no stage."""
    unknown: int
    """Stages whose time is not known."""

    def __str__(self) -> str:
        """Tell the sums and the first names."""
        if not self.stages:
            return "none"
        times = " – ".join(hours(self.seconds[key]) for key in KEYS) + " hours"
        parts = [times] if self.unknown < len(self.stages) else []
        parts += [f"{money(self.usd)} on demand"] if self.usd is not None else []
        parts += [f"time not known of {self.unknown}"] if self.unknown else []
        more = f" and {len(self.stages) - SHOWN} more" if len(self.stages) > SHOWN else ""
        return f"{len(self.stages)}, {', '.join(parts)} ({', '.join(self.stages[:SHOWN])}{more})"


def share(stages: list[dict[str, Any]]) -> Share:
    """Sum up stages as `plan --json` has them."""
    known = [stage["seconds"] for stage in stages if stage["seconds"]]
    priced = [stage["usd_on_demand"] for stage in stages if stage["usd_on_demand"] is not None]
    seconds = {key: sum(each[key] for each in known) for key in KEYS}
    names = [stage["stage"] for stage in stages]
    return Share(names, seconds, round(sum(priced), 2) if priced else None, len(stages) - len(known))


@dataclass(frozen=True)
class Comparison:
    """A commit, as the user wrote it; what runs here and not there, and what runs there and not here."""

    commit: str
    added: Share
    removed: Share

    def lines(self) -> Iterator[str]:
        """Yield what people read."""
        yield f"more than at {self.commit}: {self.added}"
        if self.removed.stages:
            yield f"less than at {self.commit}: {self.removed}"

    def as_json(self) -> dict[str, Any]:
        """Return it for programs; docs/plan.md says what each key is."""
        both = {"added": self.added, "removed": self.removed}
        told = {
            name: {"stages": each.stages, "seconds": each.seconds, "usd_on_demand": each.usd, "unknown": each.unknown}
            for name, each in both.items()
        }
        return {"commit": self.commit, **told}


def compare(found: Quotation, commit: str, shown: str) -> Comparison:
    """Compare a quotation of this working copy with that of a commit (40 hex digits), which the user calls `shown`.

    Raises HeirloomError where the commit's plan cannot be made.
    """
    here = {quote.stage.name: stage_json(quote) for quote in found.quotes}
    there = {stage["stage"]: stage for run in plan_of(commit, shown)["runs"] for stage in run["stages"]}
    added = share([stage for name, stage in here.items() if name not in there])
    return Comparison(shown, added, share([stage for name, stage in there.items() if name not in here]))


def plan_of(commit: str, shown: str) -> dict[str, Any]:
    """Return the plan of a commit as its own `plan --json` has it. Raises HeirloomError where it makes none."""
    top, below = git("rev-parse", "--show-toplevel").strip(), git("rev-parse", "--show-prefix").strip()
    with tempfile.TemporaryDirectory(prefix="heirloom-plan-") as folder:
        git("clone", "--quiet", "--shared", "--no-checkout", top, folder)
        git("-C", folder, "checkout", "--quiet", "--detach", commit)
        done = subprocess.run(
            [sys.executable, "workflow/pipeline", "plan", "--json", "--data", "remote"],
            cwd=Path(folder) / below,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        return json.loads(done.stdout)
    except ValueError:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise HeirloomError(f"COMMIT={shown}: its own code makes no plan of it: {said}") from None
