"""What .heirloom has of the stages behind a report: times, money where a cost is recorded, and of exports.

Records are no content: they differ between two executions, and a stage that was restored instead of executed has none.
What is not recorded is said to be so; nothing is estimated.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.report.loss_curves import Curves, read_curves

RECORDS = Path(".heirloom/records")
MOST = 1 << 20
"""Machines, ranks or cores of an execution."""
MOST_AMOUNT = 1e15
"""Seconds or US dollars of anything: no true record comes near it."""
COSTS = Path(".heirloom/costs")
"""What the executor plugin for SageMaker writes of its jobs."""
ESTIMATES = Path(".heirloom/estimates")
"""What the plan expected of the stages that were submitted last (pipeline.plan.kept)."""
EXPORTS = Path(".heirloom/exports")
"""What scripts/export.py found of the exports of a run, when it read them again."""
THROUGHPUT = Path(".heirloom/throughput")
"""What launch.py keeps of a training's speed and memory by step."""
MEASURED = ("seconds", "tokens_per_second", "peak_memory_gib", "mfu_percent")
"""Of its columns those that a page shows, or measures time by."""
MOST_POINTS = 5_000
"""Of a curve: a training writes 1,000, and one more at each interruption."""
NUMBERS = ("tokens", "nats_allowed", "answers", "answers_allowed")
"""What a result always has; of an export that could not be read the other figures are None."""
FOUND = ("nats_apart", "answers_differing")


def read_records(
    stages: Iterable[str],
    with_curves: Iterable[str] = (),
    folder: Path = RECORDS,
    costs: Path = COSTS,
    estimates: Path = ESTIMATES,
) -> dict[str, Any]:
    """Return {"rows", "recorded", "seconds", "usd", "priced", "kinds", "throughput"}: a row a stage, sums of what is
    recorded, and the curves of the trainings of the runs `with_curves`, where there are any.

    A row is {"stage", "record" (None when there is none), "usd" (None when no cost is recorded), "expected" (what the
    plan expected of this execution, {"seconds", "usd"}; None when nothing is kept)}.
    """
    rows = []
    for stage in stages:
        found = read_record(folder / f"{stage}.json")
        record = found if is_execution(found) else None
        usd = cost(record, read_record(costs / f"{stage}.json"))
        rows.append({"stage": stage, "record": record, "usd": usd, "expected": expected(stage, record, estimates)})
    recorded = [row["record"] for row in rows if row["record"]]
    priced = [row["usd"] for row in rows if row["usd"] is not None]
    return {
        "rows": rows,
        "recorded": len(recorded),
        "seconds": sum(record["seconds"] for record in recorded),
        "usd": sum(priced) if priced else None,
        "priced": len(priced),
        "kinds": by_kind(rows),
        "throughput": read_throughput(with_curves, rows),
    }


def by_kind(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return kind of stage → {"stages", "recorded", "seconds", "usd"}, sums over those that are recorded."""
    kinds: dict[str, dict[str, Any]] = {}
    for row in rows:
        kind = row["stage"].partition("-")[0]
        found = kinds.setdefault(kind, {"stages": 0, "recorded": 0, "seconds": 0, "usd": None})
        found["stages"] += 1
        if row["record"]:
            found["recorded"] += 1
            found["seconds"] += row["record"]["seconds"]
        if row["usd"] is not None:
            found["usd"] = (found["usd"] or 0) + row["usd"]
    return kinds


def read_record(file: Path) -> dict[str, Any] | None:
    """Return what a file of records says; None without one, or where nobody of us wrote it (a job may have)."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def is_execution(value: Any) -> bool:
    """Tell whether a value has the form of what launch.py records of an execution: programs may show all of it."""
    if not isinstance(value, dict):
        return False
    ranks, machine, versions = (value.get(part) for part in ("ranks", "machine", "versions"))
    if not (isinstance(ranks, dict) and isinstance(machine, dict) and isinstance(versions, dict)):
        return False
    texts = [value.get("started"), ranks.get("device"), machine.get("system"), *versions, *versions.values()]
    texts += [text for text in (value.get("commit"), machine.get("processor")) if text is not None]
    arithmetic = value.get("arithmetic", {})
    if not isinstance(arithmetic, dict):
        return False
    texts += [*arithmetic, *arithmetic.values()]
    counts = [ranks.get("nodes"), ranks.get("per_node"), machine.get("cores", 1) or 1]
    seconds = value.get("seconds")
    return (
        all(isinstance(text, str) and text.isprintable() for text in texts)
        and all(map(is_count, counts))
        and is_amount(seconds)
    )


def read_throughput(runs: Iterable[str], rows: list[dict[str, Any]], folder: Path = THROUGHPUT) -> dict[str, Curves]:
    """Return run → the curves of its training's speed and memory, of runs whose training is recorded as a success.

    `rows` are those of `read_records`. A file that nobody of us wrote (a job may have) has no curves.
    """
    ended = {row["stage"] for row in rows if row["record"] and row["record"].get("exit_code") == 0}
    found = {}
    for run in runs:
        file = folder / f"train-{run}.csv"
        if f"train-{run}" in ended and file.is_file():
            try:
                curves = read_curves(file)
            except (HeirloomError, UnicodeDecodeError, csv.Error):
                continue
            curves = {name: curves[name] for name in MEASURED if name in curves}
            if all(len(points) <= MOST_POINTS for points in curves.values()):
                found[run] = curves
    return found


def cost(record: dict[str, Any] | None, job: dict[str, Any] | None) -> float | None:
    """Return the US dollars of an execution, None where they are not known.

    `job` is what was paid for a stage's last job, under the identity that was executed (`job_key`); a later execution
    elsewhere was not that job.
    """
    if record is None or job is None:
        return None
    key, usd = job.get("job_key"), job.get("cost_usd")
    return usd if isinstance(key, str) and key == record.get("identity") and is_amount(usd) else None


def estimate_of(stage: str, folder: Path = ESTIMATES) -> dict[str, Any] | None:
    """Return what the plan expected of a stage's last submission: {"quoted", "seconds", "count", "usd"}; else None.

    A file of another form, or with a number that is no amount, is as if it were not there.
    """
    found = read_record(folder / f"{stage}.json")
    if found is None or not isinstance(found.get("quoted"), str) or "usd" not in found:
        return None
    seconds, usd = found.get("seconds"), found.get("usd")
    known = isinstance(seconds, dict) and all(is_amount(seconds.get(key)) for key in ("low", "expected", "high"))
    if not known or not is_count(found.get("count")) or not (usd is None or is_amount(usd)):
        return None
    return found


def expected(stage: str, record: dict[str, Any] | None, folder: Path) -> dict[str, float | None] | None:
    """Return what the plan expected of an execution: of one that began after it, and on as many machines."""
    found = estimate_of(stage, folder)
    if found is None or record is None or record["started"] < found["quoted"]:
        return None
    if record["ranks"]["nodes"] != found["count"]:
        return None
    return {"seconds": found["seconds"]["expected"], "usd": found["usd"]}


def read_exports(run: str, folder: Path = EXPORTS) -> list[dict[str, Any]]:
    """Return what was found of each export of a run, a place each; empty where nothing is recorded here."""
    record = read_record(folder / f"{run}.json") or {}
    exports = record.get("exports")
    return [each for each in exports if is_result(each)] if isinstance(exports, list) else []


def is_result(value: Any) -> bool:
    """Tell whether a value has the form of what scripts/export.py records: programs and pages may show all of it."""
    if not isinstance(value, dict) or not isinstance(value.get("passed"), bool):
        return False
    perplexity, problems = value.get("perplexity"), value.get("problems")
    figures = [value.get(name) for name in NUMBERS] + [each for name in FOUND if (each := value.get(name)) is not None]
    words = [value.get(name) for name in ("run", "place", "checkpoint", "dtype", "dataset")]
    return (
        isinstance(perplexity, dict)
        and is_number(perplexity.get("checkpoint"))
        and (perplexity.get("export") is None or is_number(perplexity["export"]))
        and isinstance(problems, list)
        and all(isinstance(word, str) for word in (*words, *problems))
        and all(map(is_number, figures))
    )


def is_amount(value: Any) -> bool:
    """Tell whether a value is seconds or US dollars that can be shown and summed up: from 0, and not endless.

    Comparisons alone: NaN fails them, and a whole number of any length passes through no float.
    """
    return type(value) in (int, float) and 0 <= value < MOST_AMOUNT


def is_count(value: Any) -> bool:
    """Tell whether a value is a number of machines, ranks or cores."""
    return type(value) is int and 0 < value < MOST


def is_number(value: Any) -> bool:
    """Tell whether a value is a number; JSON has true and false too."""
    return isinstance(value, int | float) and not isinstance(value, bool)
