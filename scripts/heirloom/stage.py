"""How every script ends: `if __name__ == "__main__": stage.run(main)`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from heirloom.code_closure import PROJECT, code_closure, loaded_project_files
from heirloom.errors import HeirloomError, plain
from heirloom.failures import sentence_of

SHOWN = 5
"""So many modules are named in a message."""

_user_code: set[Path] = set()


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; tell a user's mistake in one sentence; verify that the ledger knows all its code.

    Memory, disk and ranks that fail are told in one sentence too, below the trace.
    """
    script = Path(sys.modules["__main__"].__file__)
    try:
        main()
        leave_ranks()
        check_loaded_code(script)
    except HeirloomError as error:
        tell(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        tell(sentence)
        sys.exit(1)


def leave_ranks() -> None:
    """Take this process out of its group of ranks, if it is in one.

    Threads that still serve the group when a process exits abort it now and then ("terminate called without an active
    exception"), and then a stage whose artifacts are complete has failed.
    """
    distributed = sys.modules.get("torch.distributed")  # not imported here: most scripts do without torch
    if distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()


def tell(sentence: str) -> None:
    """Print an error's sentence in one piece, so that those of two ranks do not mix; the launcher looks for it."""
    rank = os.environ.get("RANK", "0")
    prefix = "error" if rank == "0" else f"error on rank {rank}"
    sys.stderr.write(f"{prefix}: {plain(sentence)}\n")
    sys.stderr.flush()


def declare_user_code(file: Path) -> None:
    """Tell the check below that the config names `file` (a user's `module:function`) as code of this stage."""
    _user_code.update(code_closure(file))


def check_loaded_code(script: Path) -> None:
    """Fail when the process imported a project module that the import analysis did not see.

    Such a module could change without the stage becoming stale, so the result must not be recorded.
    Raises HeirloomError naming the modules.
    """
    unseen = loaded_project_files() - set(code_closure(script)) - _user_code
    if unseen:
        first = [str(path.relative_to(PROJECT)) for path in sorted(unseen)[:SHOWN]]
        names = ", ".join(first) + (f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else "")
        raise HeirloomError(
            f"{script.name} loaded {names}, which its import statements do not show, so an edit there would not "
            f"make this stage stale: import it by a plain statement in {script.name} or in a module it imports"
        )
