"""What the machine of a cluster's job is: the first lines of the job's log.

Nobody has looked at that machine before, and when somebody reads why the job has failed it is gone. At home there is
`make doctor`, and a machine that one knows.
"""

import os
import subprocess
import sys
from pathlib import Path

JOBS = ("SLURM_JOB_ID", "TRAINING_JOB_NAME")
"""Environment variables by which Slurm and SageMaker name a job."""
DOCTOR = Path(__file__).resolve().parents[2] / "doctor.py"
HEALTHY, ILL = 0, 1
DOCTOR_TIMEOUT = 150.0
"""Seconds; it takes half of one, and some more where torch looks at GPUs, for which it has two minutes itself."""


def first_lines() -> str:
    """Return what the doctor says in brief of the machine that this job runs on; nothing outside a job.

    A doctor that cannot answer is told of in a line: it is no reason for a job to fail.
    """
    if not any(name in os.environ for name in JOBS):
        return ""
    command = [sys.executable, str(DOCTOR), "--brief", "--offline"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=DOCTOR_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"doctor: it could not examine this machine: {problem}\n"
    if done.returncode in (HEALTHY, ILL) and done.stdout:
        return done.stdout
    said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    return f"doctor: it could not examine this machine: {said}\n"
