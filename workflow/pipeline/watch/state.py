"""All that the page shows, as one JSON value; times and money are told in the terminal's words."""

import time
from pathlib import Path
from typing import Any

from heirloom.errors import plain
from pipeline.paths import COSTS, ROOT
from pipeline.plan import bills
from pipeline.watch.failures import Failure, changed, failures
from pipeline.watch.logger_plugin import clock, duration
from pipeline.watch.outlook import Outlook
from pipeline.watch.running import Launch, TrainingJob, launches, training_jobs
from pipeline.watch.stage_log import StageLog

MOST_ROWS = 200
"""Of stages that wait, and of failures: of more the number is told."""
NOTHING_RUNS = "Nothing runs in this clone now; what starts appears here by itself."


class Watcher:
    """Remembers the logs that it follows; `state` is not to be asked by two threads at once."""

    def __init__(self) -> None:
        self.outlook = Outlook()
        self._logs: dict[Launch, StageLog] = {}

    def state(self) -> dict[str, Any]:
        """Return what runs, waits and failed now, as a value for JSON."""
        running = launches()
        self.outlook.refresh([launch.stage for launch in running])
        known = self.outlook.known or {"to_do": [], "usd_an_hour": {}}
        jobs = training_jobs(row["stage"] for row in known["to_do"])
        at_work = {each.stage for each in (*running, *jobs)}
        rest = [row for row in known["to_do"] if row["stage"] not in at_work]
        failed = failures(row["stage"] for row in rest)
        waiting = [row for row in rest if row["stage"] not in {failure.stage for failure in failed}]
        self._logs = {launch: self._logs.get(launch) or StageLog(launch.log) for launch in running}
        return {
            "clone": plain(ROOT.name),
            "time": time.strftime("%H:%M:%S"),
            "nothing_runs": None if at_work else NOTHING_RUNS,
            "running": [self._running(launch, known["usd_an_hour"]) for launch in running],
            "jobs": [job_row(job, known["usd_an_hour"]) for job in jobs],
            "failed": {"rows": [failed_row(failure) for failure in failed[:MOST_ROWS]], "all": len(failed)},
            "waiting": {"rows": list(map(waiting_row, waiting[:MOST_ROWS])), "all": len(waiting)},
            "plan": self.outlook.problem or (None if self.outlook.known else "The plan is being made …"),
            "billed": billed(),
        }

    def _running(self, launch: Launch, usd_an_hour: dict[str, float]) -> dict[str, Any]:
        log = self._logs[launch]
        now, heard = time.time(), changed(launch.log)
        begun = heard >= launch.started  # before, what lies there is of an earlier execution
        if begun:
            log.follow()
        progress = log.progress
        left = None if progress is None else progress.left
        place = f"on {plain(launch.host)}" if launch.host else "here"
        cost = usd_an_hour.get(launch.stage) if launch.host else None  # this machine is not rented by the stage
        return {
            "stage": launch.stage,
            "since": f"{place} for {duration(int(now - launch.started))}",
            "progress": progress and {"text": str(progress), "share": progress.done / progress.total},
            "counted": progress and progress.word,
            "left": None if left is None else f"{clock(left)} left",
            "last_word": f"last line {duration(int(now - heard))} ago" if begun and now - heard > 60 else None,
            "cost": None if cost is None else f"{dollars(cost * (now - launch.started) / 3600)} so far",
            "figures": {name: curve.values[-1] for name, curve in log.curves.items()},
            "curves": {name: [curve.steps, curve.values] for name, curve in log.curves.items()},
            "log": str(launch.log),
            "lines": log.lines() if begun else [],
        }


def job_row(job: TrainingJob, usd_an_hour: dict[str, float]) -> dict[str, Any]:
    """Return a line of the jobs on SageMaker. From submission on nothing is known here before it ends: it may wait."""
    seconds = time.time() - job.started
    price = usd_an_hour.get(job.stage)
    cost = None if price is None else f"at most {dollars(price * seconds / 3600)} so far, on demand"
    since = f"submitted to SageMaker {duration(int(seconds))} ago"
    return {"stage": plain(job.stage), "job": plain(job.name), "since": since, "cost": cost}


def failed_row(failure: Failure) -> dict[str, Any]:
    """Return a line of the failures."""
    return {
        "stage": failure.stage,
        "ended": time.strftime("%Y-%m-%d %H:%M", time.localtime(failure.ended)) if failure.ended else "",
        "sentence": failure.sentence,
        "log": str(failure.log),
        "lines": failure.lines,
    }


def waiting_row(row: dict[str, Any]) -> dict[str, str]:
    """Return a line of the plan."""
    return {"stage": row["stage"], "action": row["action"], "why": plain("; ".join(row["reasons"]))}


def billed(folder: Path = COSTS) -> str | None:
    """Return what jobs on SageMaker were billed, all that are recorded here and this month; None where none is."""
    found = bills(folder)
    if not found["month"]:
        return None
    total = sum(bill.dollars for bill in found["month"].values())
    unpriced = sum(bill.unpriced for bill in found["month"].values())
    month = found["month"].get(time.strftime("%Y-%m", time.gmtime()))
    this_month = f", {dollars(month.dollars)} of it this month" if month else ""
    more = f"; the price of {unpriced} attempts is not known" if unpriced else ""
    return f"{dollars(total)}{this_month}{more}"


def dollars(amount: float) -> str:
    """Return US dollars and cents."""
    return f"${amount:,.2f}"
