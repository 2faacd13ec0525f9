"""Checkpoints for resuming an interrupted training: complete or ignored, and of this very training only.

transformers writes a checkpoint straight into its folder, so a killed process leaves a half-written one that looks
like any other. Here a checkpoint counts only once it holds the file COMPLETE, which is written last, after all ranks
have written theirs and everything is on disk.

Hosts need not share a disk: each keeps what its ranks write, all under different names, and COMPLETE lists the files
of all hosts. Where a platform brings all files to all hosts before it starts them again (SageMaker, from S3), each
host compares what has come with that list, and only what is complete on every host is taken up.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import IntervalStrategy

from heirloom.distributed import barrier, gathered, is_first_rank_of_host, is_main_rank, on_every_rank, world_size
from heirloom.training.callbacks.loss_history import LossHistory

COMPLETE = "complete.json"
CLAIM = "claim.json"
PREFIX = "checkpoint-"
BEST = "best-"
"""Folder of the best state, by its step: beside the checkpoints, which name it."""


def work_folder(output: Path) -> Path:
    """Return the folder for work in progress: the launcher's, or `.NAME.work` beside the output."""
    given = os.environ.get("HEIRLOOM_WORK_DIR")
    return Path(given) if given else output.with_name(f".{output.name}.work")


def scratch_folder(work: Path | str) -> Path:
    """Return the folder for what every start makes anew: `work`, or the launcher's where `work` is copied away."""
    return Path(os.environ.get("HEIRLOOM_SCRATCH_DIR", work))


def claim_work_folder(work: Path, facts: dict[str, Any]) -> None:
    """Make `work` the folder of the training that `facts` describe; what is there of any other is deleted.

    The stage's identity describes a training when the launcher knows it (HEIRLOOM_IDENTITY); else `facts` do.
    The number of ranks always does: ZeRO's shards fit no other. The launcher's folder is named by both, so what nobody
    has claimed counts there: the claim may not have come along with copied checkpoints. Every rank calls this.
    """
    identity = os.environ.get("HEIRLOOM_IDENTITY")
    description = {"ranks": world_size(), **({"identity": identity} if identity else facts)}
    text = json.dumps(description, indent=1, sort_keys=True, default=str)
    file = work / CLAIM
    found = sorted(work.glob(f"{PREFIX}*"))
    other = file.read_text(encoding="utf-8") != text if file.is_file() else bool(found) and not identity
    barrier()  # hosts that share the folder have all looked before one of them writes
    if is_first_rank_of_host():
        if found and other:
            print(f"{work}: what is there is the work of another training: starting afresh", flush=True)
            for folder in (*found, *work.glob(f"{BEST}*")):
                delete(folder)
        work.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def stat_facts(*paths: Path | None) -> dict[str, list]:
    """Return what tells cheaply whether input files changed: name, size and time of each file at `paths`."""
    facts = {}
    for path in filter(None, paths):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        facts[str(path)] = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return facts


def newest_complete(work: Path) -> Path | None:
    """Return the latest checkpoint that is complete on every host; each host deletes others. Every rank calls it."""
    everywhere = on_every_rank(folder.name for folder in work.glob(f"{PREFIX}*") if is_complete(folder))
    if is_first_rank_of_host():
        for folder in work.glob(f"{PREFIX}*"):
            if folder.name not in everywhere:
                print(f"{folder.name}: was not written to its end, deleted", flush=True)
                delete(folder)
    barrier()
    return max((work / name for name in everywhere), key=step_of, default=None)


def is_complete(folder: Path) -> bool:
    """Say whether a checkpoint was written to its end and all its files, those of other hosts among them, are here."""
    try:
        files = json.loads((folder / COMPLETE).read_text(encoding="utf-8")).get("files", {})
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(PREFIX))


def evaluation_is_due(checkpoint: Path, args: TrainingArguments, history: LossHistory) -> bool:
    """Say whether `eval_strategy` wants the held-out rows measured at the checkpoint's step and they were not yet.

    That is so after an interruption between the checkpoint and the end of that measurement; `history` is the
    checkpoint's.
    """
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if args.eval_strategy == IntervalStrategy.STEPS:
        now, due = state.global_step, state.global_step % state.eval_steps == 0
    elif args.eval_strategy == IntervalStrategy.EPOCH:
        now, due = state.epoch, state.epoch == int(state.epoch)
    else:
        return False
    return due and now >= args.eval_delay and not history.measured_at(state.global_step)


class AlreadyTrainedError(Exception):
    """The checkpoint that a training goes on from is that of its last step."""


class StopAfterLastStep(TrainerCallback):
    """Raises AlreadyTrainedError where transformers would take one more step: it looks at `max_steps` after a step."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step >= state.max_steps:
            raise AlreadyTrainedError


class BestStates(Protocol):
    """What a training keeps beside its checkpoints for resuming, see `heirloom.training.callbacks.best_state`."""

    def files(self, work: Path) -> dict[str, int]:
        """Return the size of each file that the checkpoint needs, by its name relative to that."""

    def delete_others(self, work: Path) -> None:
        """Delete what nothing needs any more."""


class CompleteCheckpoints(TrainerCallback):
    """Completes each checkpoint after it is written, then deletes those before the newest `keep`."""

    def __init__(self, history: LossHistory, best: BestStates, keep: int) -> None:
        self.history, self.best = history, best
        # where checkpoints are copied away, the newest one is safe only when its copy is; a lost machine costs it
        self.keep = max(keep, 2) if "HEIRLOOM_SCRATCH_DIR" in os.environ else keep

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save as often as is asked for now: a resumed trainer goes by the `save_steps` of its checkpoint else."""
        state.compute_steps(args, state.max_steps)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        work = Path(args.output_dir)
        folder = work / f"{PREFIX}{state.global_step}"
        if is_main_rank():
            self.history.save(folder)
        barrier()  # every rank has written its part
        files = flushed_files(folder) if is_first_rank_of_host() else {}
        files = {name: size for of_rank in gathered(files) for name, size in of_rank.items()}
        if is_main_rank():
            files |= self.best.files(work)
            content = {"step": state.global_step, "files": dict(sorted(files.items()))}
            (folder / COMPLETE).write_text(json.dumps(content, indent=1), encoding="utf-8")
            flush_to_disk(folder / COMPLETE)
        barrier()  # the new one is complete before any host deletes an old one
        if is_first_rank_of_host():
            for old in sorted(work.glob(f"{PREFIX}*"), key=step_of)[: -self.keep]:
                (old / COMPLETE).unlink(missing_ok=True)  # first, so that a half-deleted one is never taken up
                delete(old)
            self.best.delete_others(work)


def flushed_files(folder: Path) -> dict[str, int]:
    """Wait until all of a folder is on the disk; return the size of each file by its name relative to the folder."""
    paths = list(folder.rglob("*"))
    for path in (*paths, folder):
        flush_to_disk(path)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths if path.is_file()}


def delete(folder: Path) -> None:
    """Delete a folder; another host that shares it may be doing the same."""

    def unless_gone(_function: object, _path: str, failure: tuple) -> None:
        if not isinstance(failure[1], FileNotFoundError):
            raise failure[1]

    shutil.rmtree(folder, onerror=unless_gone)


def flush_to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk, so that it outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
