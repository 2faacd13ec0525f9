"""Inside a SageMaker training job: the unpacked sources become a place where DVC works, and results go back.

The executor plugin unpacks what git tracks into an empty folder on every host and starts `python workflow/pipeline run
STAGE` on the first, `join STAGE` on the others. Data comes from the DVC remote and goes there; the submitting machine
gets the marker, the log, the record and small results.
"""

import os
import shutil
import sys
from pathlib import Path

from heirloom.launcher.hosts import sagemaker
from heirloom.launcher.work import KEEP
from pipeline.execution.job_remote import data_is_remote, write_settings
from pipeline.execution.transfer import bring_inputs, learn_inputs
from pipeline.graph import Stage, launched, load_graph
from pipeline.paths import RECORDS, STATE, THROUGHPUT, WORK

RETURNED = "SNAKEMAKE_SAGEMAKER_RETURN_FILES"
"""Environment variable with the file in which a job lists what it returns beside its marker and log."""
LARGEST_RETURNED = 5_000_000
"""Bytes; a larger result stays on the remote alone."""
LONGEST_REASON = 600
"""Characters of a log in the reason of a failure, of which SageMaker keeps 1024."""


def in_training_job() -> bool:
    """Tell whether this process runs in a training job of a session whose data is on a remote."""
    return RETURNED in os.environ and data_is_remote()


def prepare(name: str) -> Stage:
    """Make this host ready to execute a stage, and return it: DVC's settings, its inputs' entries, the inputs.

    Raises HeirloomError when an input is not on the remote.
    """
    graph = load_graph(strict=False)[1]
    stage = graph.stage(name)
    set_up_host()
    learn_inputs(stage, graph)
    bring_inputs(stage, graph)
    return stage


def set_up_host() -> None:
    """Make the folder a place where DVC works, and let work in progress outlive this host; twice does no harm.

    Files are links to the cache, as the disk is the job's own; what DVC remembers lies there too.
    """
    write_settings(
        Path(".dvc/config.local"),
        core={"no_scm": "true", "site_cache_dir": str(Path(".dvc/tmp/site").absolute())},
        cache={"dir": "cache", "type": "reflink,hardlink,copy"},
    )
    kept = ml_root() / "checkpoints"  # SageMaker copies it to S3 and back
    if kept.is_dir() and not WORK.exists():
        STATE.mkdir(exist_ok=True)
        WORK.symlink_to(kept)
    os.environ[KEEP] = "1"  # a host that is lost during the push must not train from the beginning


def forget_work(name: str) -> None:
    """Delete the work in progress of this job's stage, on all hosts: its result is on the remote."""
    for folder in WORK.glob("*"):
        shutil.rmtree(folder, ignore_errors=True)
    if host := sagemaker.find():
        host.release_workers(name)


def join(name: str) -> None:
    """On a host that is not the first: run the ranks that the first one's launcher starts here. Does not return."""
    stage = prepare(name)
    os.execv(sys.executable, [sys.executable, "scripts/launch.py", "join", name, *launched(stage.cmd)])


def explain(name: str, error: Exception) -> None:
    """Write why a stage failed where SageMaker and the submitting terminal show it: the end of its log, the error.

    The end of this host's output would be Snakemake's words, which say less.
    """
    log = Path("logs", f"{name}.log")
    lines = log.read_text(errors="replace", encoding="utf-8").splitlines() if log.is_file() else []
    shown: list[str] = []
    for line in reversed(lines):
        if sum(map(len, shown)) + len(shown) + len(line) > LONGEST_REASON:
            break
        shown.insert(0, line)
    file = ml_root() / "output" / "failure"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*shown, str(error)]), encoding="utf-8")


def ml_root() -> Path:
    """Return /opt/ml, or what stands for it where a test cannot have that."""
    return Path(os.environ.get("SM_ML_ROOT", "/opt/ml"))


def return_files(stage: Stage, succeeded: bool) -> None:
    """List what goes back to the submitting machine: records of the execution, of a success small results too."""
    found = [RECORDS / f"{stage.name}.json", THROUGHPUT / f"{stage.name}.csv"]
    if succeeded:
        found += [path for path in map(Path, stage.products) if path.is_file()]
    listed = [str(path) for path in found if path.is_file() and path.stat().st_size <= LARGEST_RETURNED]
    Path(os.environ[RETURNED]).write_text("".join(f"{path}\n" for path in listed), encoding="utf-8")
