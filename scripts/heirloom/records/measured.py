"""What is measured of an execution for the estimates of the next plan: it travels with the record in the history.

A program leaves what it knows in its work folder; the launcher adds the memory of the largest process. The workflow
adds what moving data took, and what SageMaker says of the job (pipeline.records). All of it together
has at most `MOST` bytes, since the history has a line for every execution.
"""

import json
import math
import resource
from pathlib import Path
from typing import Any

MEASURED = "measured.json"
"""The file in a work folder in which a program leaves what it measured: an object of some of `NUMBERS`."""
MOST = 300
"""Bytes of JSON."""
NUMBERS = (
    *("steps", "tokens", "training_s", "mfu", "gpu_gib", "process_gib", "fetch_s", "push_s"),
    *("count", "start_s", "billed_s", "ran_s"),
)


def measured_in(work: Path) -> dict[str, Any]:
    """Return what was measured of the program that worked in a folder, and the peak of its largest process, GiB."""
    file = work / MEASURED
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError):
        found = {}
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB on Linux
    return measured_of(found) | ({"process_gib": round(peak / 2**20, 3)} if peak else {})


def measured_of(found: Any) -> dict[str, Any]:
    """Return those of an object's values that are measurements, numbers that are none below 0; a job may write all."""
    if not isinstance(found, dict):
        return {}
    kept = {
        key: found[key]
        for key in NUMBERS
        if type(found.get(key)) in (int, float) and math.isfinite(found[key]) and found[key] >= 0
    }
    instance = found.get("instance")
    if isinstance(instance, str) and instance.isprintable():
        kept["instance"] = instance
    if found.get("spot") is True:
        kept["spot"] = True
    return kept if len(json.dumps(kept)) <= MOST else {}
