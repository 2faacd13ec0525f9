"""What was measured of an execution beside its program: moving its data, and the job on SageMaker that it was in."""

from datetime import datetime
from typing import Any

from heirloom.records.measured import measured_of
from heirloom.report.execution_records import read_record
from pipeline.paths import COSTS, RECORDS


def add_to_record(stage: str, identity: str, found: dict[str, float]) -> None:
    """Add measurements to this machine's record of an execution; nothing where it is of another one."""
    from heirloom.launcher.record import write  # here: every plan reads the rest of this module

    file = RECORDS / f"{stage}.json"
    record = read_record(file) or {}
    if record.get("identity") != identity:
        return
    record["measured"] = measured_of(record.get("measured")) | found
    write(record, file)


def measured(stage: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured of the execution that a record is of, with what is known of its job."""
    return measured_of(measured_of(record.get("measured")) | of_job(stage, record))


def of_job(stage: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return what SageMaker says of the job that executed a stage, from what the executor plugin writes of costs.

    `start_s` is the time from the job's creation until its program began: capacity, image, libraries, inputs.
    """
    job = read_record(COSTS / f"{stage}.json") or {}
    attempts = job.get("attempts")
    if job.get("job_key") != record.get("identity") or not isinstance(attempts, list) or not attempts:
        return {}
    last = attempts[-1] if isinstance(attempts[-1], dict) else {}
    found = {
        "instance": last.get("instance_type"),
        "count": last.get("instance_count"),
        "billed_s": last.get("billable_seconds"),
        "ran_s": last.get("training_seconds"),
        "spot": last.get("spot"),
    }
    begun, created = time_of(record.get("started")), time_of(last.get("created"))
    if begun is not None and created is not None and begun >= created:
        found["start_s"] = round((begun - created).total_seconds())
    return found


def time_of(text: Any) -> datetime | None:
    """Return the time that a record names, with its zone; None for what is none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None
