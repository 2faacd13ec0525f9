"""Say what this machine and this environment offer to a training, what that means, and what to do.

    python scripts/doctor.py              every check, for people (in the image: `doctor`)
    python scripts/doctor.py --json       the same for programs
    python scripts/doctor.py --brief      what the machine is and what is not in order, a line each: the launcher
                                          writes it at the head of a job's log
    python scripts/doctor.py --offline    ask neither S3 nor the model hub

It runs in a clone, in the image and in a job, takes under a second where torch is not started (that is: without
GPUs), and changes nothing.
Exit code: 0, or 1 when something will stop a training.
"""

import argparse
import sys
from pathlib import Path

from heirloom.doctor.examination import examine
from heirloom.doctor.finding import Level
from heirloom.doctor.report import print_brief, print_findings, print_json

LOCK = Path(__file__).resolve().parents[1] / "envs/training.txt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", dest="show", const=print_json)
    form.add_argument("--brief", action="store_const", dest="show", const=print_brief)
    parser.add_argument("--offline", action="store_true")
    parser.set_defaults(show=print_findings)
    arguments = parser.parse_args()

    findings = examine(LOCK, clone_of(Path.cwd()), arguments.offline)
    arguments.show(findings)
    return int(any(finding.level is Level.ERROR for finding in findings))


def clone_of(folder: Path) -> Path | None:
    """Return the clone that `folder` is in, None outside one."""
    return next((path for path in (folder, *folder.parents) if (path / ".dvc").is_dir()), None)


if __name__ == "__main__":
    sys.exit(main())
