"""Where the workflow keeps its own things, relative to the repository root."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository root; every other path is relative to it, and every program works in it."""
STATE = Path(".heirloom")
"""This machine's own state: never in git, never identity; deleting it costs time and nothing else."""

MARKERS = STATE / "markers"
CACHE = STATE / "cache"
RECORDS = STATE / "records"
THROUGHPUT = STATE / "throughput"
"""Speed and memory of trainings by step, as launch.py found them in their work folders."""
COSTS = STATE / "costs"
WORK = STATE / "work"
JOBS_AWAY = STATE / "jobs-away"
"""There from the start of jobs on SageMaker until all that they returned is recorded, even by a later session."""
JOB_OUTPUT_FOLDER = STATE / "jobs"
"""What the jobs of the last session here wrote to stdout and stderr."""
LOCK_FILE = STATE / "lock"

DVC_LOCK = Path("dvc.lock")
DVC_YAML = Path("dvc.yaml")
DVC_LOCK_FILE = Path(".dvc/tmp/lock")
"""DVC's repository lock, a kernel lock on this file."""
HISTORY = Path(".dvc/history.jsonl")
