"""What this working copy adds to a commit: the stages that would run here and not there, in hours and dollars.

The commit's plan is made by its own code in a clone below $TMPDIR, which is deleted. Of its data it counts what is
recorded, wherever that lies: a clone has none.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from pipeline.git import clone_of, environment_elsewhere
from pipeline.plan.budgets import money
from pipeline.plan.quotation import Quotation
from pipeline.plan.table import hours, stage_json

KEYS = ("low", "expected", "high")
SHOWN = 5
"""So many stages are named in a line."""
PROGRAM = "workflow/pipeline"
ABSENT = re.compile("^error: .*: (no run is called |not enabled: )", re.MULTILINE)
"""What any commit's plan says of selected runs that it does not have."""
OLDER = re.compile("unrecognized arguments: (--[a-z]+)|invalid choice: '(plan)'")
"""What the command line of a commit says that was before `plan --json`."""


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


def compare(found: Quotation, commit: str, shown: str, runs: str | None = None) -> Comparison:
    """Compare a quotation of this working copy with that of a commit (40 hex digits), which the user calls `shown`.

    `runs`: those that the quotation is of, as the user wrote them; None: all. One that the commit has not counts as
    nothing there. Raises HeirloomError where the commit's plan cannot be made.
    """
    here = {quote.stage.name: stage_json(quote) for quote in found.quotes}
    there = {stage["stage"]: stage for run in plan_of(commit, shown, runs) for stage in run["stages"]}
    added = share([stage for name, stage in here.items() if name not in there])
    return Comparison(shown, added, share([stage for name, stage in there.items() if name not in here]))


def plan_of(commit: str, shown: str, runs: str | None) -> list[dict[str, Any]]:
    """Return the runs of a commit's plan as its own `plan --json` has them.

    Raises HeirloomError where it makes none.
    """
    with tempfile.TemporaryDirectory(prefix="heirloom-plan-") as folder:
        project = clone_of(commit, Path(folder))
        if not (project / PROGRAM).is_dir():
            raise HeirloomError(f"COMMIT={shown}: it has no {PROGRAM}, which would make its plan: name a later commit")
        done = plan_in(project, runs)
        if runs is not None and ABSENT.search(done.stderr):
            there = [run for run in runs.split(",") if not ABSENT.search(plan_in(project, run).stderr)]
            if not there:
                return []
            done = plan_in(project, ",".join(there))
    try:
        return json.loads(done.stdout)["runs"]
    except (ValueError, LookupError, TypeError):
        raise HeirloomError(f"COMMIT={shown}: {why_none(done.stderr)}") from None


def plan_in(project: Path, runs: str | None) -> subprocess.CompletedProcess:
    """Run the plan of a clone by its own code, of all runs or of some."""
    selected = [] if runs is None else [f"--runs={runs}"]
    return subprocess.run(
        [sys.executable, PROGRAM, "plan", "--json", "--data", "remote", *selected],
        cwd=project,
        env={**environment_elsewhere(), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def why_none(said: str) -> str:
    """Return why a commit's own code made no plan, from what that code said on stderr."""
    if older := OLDER.search(said):
        return f"its own code knows no {older[1] or older[2]} yet, so nothing is compared with it: name a later commit"
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"its own code makes no plan of it: {last.removeprefix('error: ')}"
