"""Room for artifacts, checkpoints and caches."""

import os
import shutil
import tempfile
from pathlib import Path

from heirloom.doctor.finding import Finding, error, note, ok, warning

ENOUGH = 20 * 10**9
LEAST = 2 * 10**9


def check_disk(folder: Path, subject: str, holds: str) -> Finding:
    """Find a folder with little room, or one that cannot be written to; `holds` says what goes there."""
    if not folder.is_dir():
        return error(subject, f"{folder} is not here", f"{holds} cannot be written", f"make the folder {folder}")
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.0f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return error(
            subject, f"{folder} cannot be written to", f"{holds} go there", "mount it for this user, or choose another"
        )
    if free < LEAST:
        return error(subject, found, f"{holds} go there: a stage will fail when it saves", "make room")
    if free < ENOUGH:
        return warning(
            subject,
            found,
            f"{holds} go there; a checkpoint to resume from takes up to 16 bytes a parameter (120 GB for 8 billion)",
            "make room, or use a larger volume (`resources: volume_size`)",
        )
    return ok(subject, found)


def check_disks(project: Path | None) -> list[Finding]:
    """Check the clone's folder (None: there is no clone) and the one for temporary files."""
    findings = []
    if project is not None:
        findings.append(check_disk(project, "disk", "artifacts, DVC's cache and checkpoints"))
    else:
        findings.append(note("disk", "no clone in the working folder", "only the machine is looked at"))
    temporary = Path(tempfile.gettempdir())
    free = shutil.disk_usage(temporary).free
    if free < LEAST:
        findings.append(
            warning("temporary files", f"{free / 1e9:.1f} GB free in {temporary}", "caches go there", "set TMPDIR")
        )
    return findings
