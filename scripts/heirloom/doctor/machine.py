"""Where this runs: machine, container, user."""

import os
import platform
from pathlib import Path

from heirloom.doctor.finding import Finding, note, ok

IN_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/.singularity.d"))
CONTAINER = "container"
"""Variable by which a container says so (systemd's convention); the image sets it, as /run can hide podman's file."""
SAGEMAKER = Path("/opt/ml/input/config/resourceconfig.json")


def check_machine() -> list[Finding]:
    """Return what the machine is; root outside SageMaker is worth a note."""
    place = "a SageMaker job" if SAGEMAKER.exists() else container() or "no container"
    findings = [ok("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, {place}")]
    if os.geteuid() == 0 and place == "a container":
        findings.append(
            note(
                "user",
                "root in a container",
                "files that stages write into a mounted clone belong to root",
                "--user $(id -u):$(id -g), or the image's target `user`",
            )
        )
    return findings


def container() -> str | None:
    """Return "a container" inside one."""
    return "a container" if os.environ.get(CONTAINER) or any(path.exists() for path in IN_CONTAINER) else None
