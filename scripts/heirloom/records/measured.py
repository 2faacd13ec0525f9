"""What is measured of an execution for the estimates of the next plan: it travels with the record in the history.

A program leaves what it knows in its work folder; the launcher adds the memory of the largest process. The workflow
adds what moving data took, and what SageMaker says of the job (pipeline.records). All of it together
has at most `MOST` bytes, since the history has a line for every execution.
"""

import json
import resource
from pathlib import Path
from typing import Any

MEASURED = "measured.json"
"""The file in a work folder in which a program leaves what it measured: an object of some of `NUMBERS`."""
THROUGHPUT = "throughput.csv"
"""The file in a work folder in which a training leaves its speed and memory by step."""
MOST = 300
"""Bytes of JSON."""
WHOLE = ("steps", "tokens", "count")
NUMBERS = dict.fromkeys(WHOLE, (1, 10**15))
NUMBERS |= dict.fromkeys(("training_s", "fetch_s", "push_s", "start_s", "billed_s", "ran_s"), (0, 10**9))
NUMBERS |= {"mfu": (1e-4, 1), "gpu_gib": (0, 10**6), "process_gib": (0, 10**6)}
"""Measurement → the least and the most that it can be; what is beyond was not measured by us."""


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
    """Return those of an object's values that can be measurements; a job, or a colleague, may write anything."""
    if not isinstance(found, dict):
        return {}
    kept = {
        key: found[key]
        for key, (least, most) in NUMBERS.items()
        # compared, not converted: an integer may be too large for any float
        if type(found.get(key)) in ((int,) if key in WHOLE else (int, float)) and least <= found[key] <= most
    }
    instance = found.get("instance")
    if isinstance(instance, str) and instance.isprintable():
        kept["instance"] = instance
    if found.get("spot") is True:
        kept["spot"] = True
    return kept if len(json.dumps(kept)) <= MOST else {}
