"""Who else is on this machine: whoever is can reach the ports of a training, and ranks ask nobody who they are."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from heirloom.doctor.finding import Finding, ok, warning

PROCESSES = Path("/proc")
FIRST_PERSON, NOBODY = 1000, 65534
"""User numbers: below are those of the system, and of nobody."""
MEANING = "they can reach the ports of a training here, and so disturb it, read its numbers or join it (SECURITY.md)"


def check_neighbours(processes: Path = PROCESSES) -> list[Finding]:
    """Find other people's processes on this machine, and a Slurm job whose nodes others may share."""
    others = other_people(processes)
    if others:
        numbers = ", ".join(map(str, others[:5])) + (", …" if len(others) > 5 else "")
        found = f"processes of {len(others)} other user{'s' if len(others) > 1 else ''} (uid {numbers})"
        remedy = "train on a machine of your own, on Slurm with --exclusive"
        findings = [warning("neighbours", found, MEANING, remedy)]
    else:
        findings = [ok("neighbours", "no process of another person is to be seen")]
    return [*findings, *check_slurm_job(os.environ.get("SLURM_JOB_ID"))]


def other_people(processes: Path) -> list[int]:
    """Return the numbers of other users, those of the system excepted, that processes belong to."""
    found = set()
    for folder in processes.glob("[0-9]*"):
        try:
            found.add(folder.stat().st_uid)
        except OSError:  # it has ended meanwhile
            continue
    return sorted(uid for uid in found - {os.getuid(), NOBODY} if uid >= FIRST_PERSON)


def check_slurm_job(job: str | None) -> list[Finding]:
    """Find a job whose nodes may be shared; nothing outside of Slurm."""
    if not job or not shutil.which("scontrol"):
        return []
    command = ["scontrol", "--oneliner", "show", "job", job]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    shared = re.search(r"\bOverSubscribe=(\S+)", told)
    if not shared or shared[1] == "NO":
        return [ok("Slurm job", f"{job} has its nodes for itself")] if shared else []
    found = f"{job} may share its nodes (OverSubscribe={shared[1]})"
    remedy = "slurm_extra: --exclusive in the profile's default-resources, or sbatch --exclusive"
    return [warning("Slurm job", found, MEANING, remedy)]
