"""Tell in one sentence the failures that no code of ours makes: memory, disk, ranks that wait in vain.

Libraries report them by exceptions of many kinds, some by text alone. `stage.run` asks here what to say of one; this
module imports no library, because every script loads it.
"""

import errno
import importlib.util
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from heirloom.errors import HeirloomError, plain

ROOT = Path(__file__).resolve().parents[2]

MORE_MEMORY = (
    "a training needs less with gradient_checkpointing: true, with a smaller per_device_train_batch_size (and the same "
    "global_batch_size), with `deepspeed: zero3`, or with a file of config/deepspeed/ that offloads; generation needs "
    "less with a smaller batch_size"
)
MEMORY_TEXTS = re.compile(r"can't allocate memory|CUDA out of memory|Cannot allocate memory|CUBLAS_STATUS_ALLOC_FAILED")
TRIED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?(\w+)")
DISK_TEXTS = re.compile(
    r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed|inline_container\.cc|iostream error"
)
"""The last three are what torch.save says, of any file that it cannot write to the end."""
NOT_ALLOWED = {
    errno.EACCES: "this user may not read or write there: change its owner or mode, or give another place",
    errno.EPERM: "this user may not do that there: change its owner or mode, or give another place",
    errno.EROFS: "lies on a file system that can only be read: give another place",
}
NO_DETERMINISTIC_FORM = re.compile(r"(\S+) does not have a deterministic implementation, but you set")
"""What torch says of an operation under `deterministic: true`."""
TIMEOUT_TEXTS = re.compile(r"Timed out waiting (\d+) ?ms|WorkNCCL\(.*Timeout\(ms\)=(\d+)\)")
"""What gloo says, and NCCL of the piece of work that took too long."""


def sentence_of(error: BaseException) -> str | None:
    """Return what happened and what helps, None for an error that is none of these."""
    chain = list(causes(error))
    for each in chain:
        if is_memory(each):
            return out_of_memory(str(each))
    for each in chain:
        if is_disk(each):
            return disk_full(each)
    if any(type(each).__name__ == "UnpicklingError" and "Weights only load failed" in str(each) for each in chain):
        return (
            "a file of states holds more than numbers, which may be code, and was not loaded: nobody but your own "
            "trainings should write to the folder of checkpoints; delete what is there and start again"
        )
    for each in chain:
        if match := NO_DETERMINISTIC_FORM.search(str(each)):
            return (
                f"deterministic: true cannot be kept: {match[1]} has no deterministic form in this torch; do without "
                "what computes by it (often an attn_implementation, or a layer of this model), or delete the key"
            )
    for each in chain:
        if isinstance(each, OSError) and each.errno in NOT_ALLOWED and each.filename is not None:
            return f"{each.filename}: {NOT_ALLOWED[each.errno]}"
    for each in chain:
        if match := TIMEOUT_TEXTS.search(str(each)):
            return collective_timeout(f"rank {rank()}", match[1] or match[2])
    return None


@contextmanager
def ends_in_one_sentence(doing: str = "") -> Iterator[None]:
    """End the program with one sentence and no trace where what is done inside fails by a mistake that the user can
    mend, or by what the machine lacks; `doing` begins it. For programs that people type; stages have `stage.run`.
    """
    try:
        yield
    except HeirloomError as error:
        sentence, code = plain(str(error)), error.exit_code
    except (MemoryError, OSError, RuntimeError) as error:
        if (found := sentence_of(error)) is None:
            raise
        sentence, code = plain(found), 1
    else:
        return
    print(f"error: {f'{doing}: ' if doing else ''}{sentence}", file=sys.stderr)
    sys.exit(code)


def missing_library(error: BaseException) -> str | None:
    """Return what to say where a module of this project imports a library that its Python does not have.

    None for another error: what a library imports in vain is for those who read its trace.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None or "." in error.name:
        return None  # a part that is not in a library, of another version say, is no missing library
    importing = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    importing = [name for name in importing if not name.startswith("<")]  # <frozen importlib._bootstrap>
    ours = importing and any(Path(importing[-1]).is_relative_to(ROOT / folder) for folder in ("scripts", "workflow"))
    if not ours or error.name in sys.modules or importlib.util.find_spec(error.name) is not None:
        return None  # one that only looks absent here (heirloom.rank)
    return (
        f"{error.name} is not installed in {sys.prefix}, whose Python this is: take that of the environment "
        "(`. .venv/bin/activate`); `make setup` makes it with all that trainings need, `make setup-workflow` with "
        "what plans, submits and pulls"
    )


def tell_missing_library(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print that sentence in place of a trace; `sys.excepthook` of every program (heirloom/__init__.py)."""
    sentence = missing_library(error.with_traceback(trace))
    if sentence is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {sentence}", file=sys.stderr)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, the name of its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def rank() -> str:
    return os.environ.get("RANK", "0")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then those that it was raised from or while handling."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def is_memory(error: BaseException) -> bool:
    by_type = any(kind.__name__ in ("MemoryError", "OutOfMemoryError") for kind in type(error).__mro__)
    by_number = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return by_type or by_number or (isinstance(error, RuntimeError) and bool(MEMORY_TEXTS.search(str(error))))


def is_disk(error: BaseException) -> bool:
    by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return by_number or bool(DISK_TEXTS.search(str(error)))


def out_of_memory(text: str) -> str:
    where = "GPU memory" if "CUDA" in text else "memory"
    amount = ""
    if tried := TRIED.search(text):
        number, unit = tried.groups()
        amount = (
            f" (it asked for {float(number) / 1e9:,.2f} GB)" if unit == "bytes" else f" (it asked for {number} {unit})"
        )
    return f"rank {rank()} ran out of {where}{amount}: {MORE_MEMORY}"


def disk_full(error: BaseException) -> str:
    folder, free = fullest(places(error))
    return (
        f"{folder} could not be written to: {free / 1e6:,.1f} MB are free there; free some and start again: what was "
        "complete before is kept (a training needs room for tracking.save_total_limit + 1 checkpoints)"
    )


def places(error: BaseException) -> Iterator[Path]:
    """Yield the folders that the error or the command line names."""
    named = getattr(error, "filename", None)
    if isinstance(named, str):
        yield Path(named).parent
        return
    if work := os.environ.get("HEIRLOOM_WORK_DIR"):
        yield Path(work)
    for flag, value in zip(sys.argv, sys.argv[1:], strict=False):
        if flag.startswith("--") and not value.startswith("--") and Path(value).parent.is_dir():
            yield Path(value).parent


def fullest(folders: Iterator[Path]) -> tuple[Path, int]:
    """Return the folder with the least free space, and how many bytes a user may still write there."""
    present = [folder for folder in folders if folder.is_dir()] or [Path.cwd()]
    return min(((folder, shutil.disk_usage(folder).free) for folder in present), key=lambda pair: pair[1])


def collective_timeout(who: str, milliseconds: str) -> str:
    return (
        f"{who} waited {int(milliseconds) / 1000:g} s for another rank in vain: see in the log what that one did last; "
        "where it only was slow, set a larger resources.ddp_timeout (seconds)"
    )
