"""What is ours to mend: an error that nobody expected is one sentence for the user, and a trace in a file for us."""

import tempfile
import time
import traceback
from pathlib import Path

from heirloom.errors import HeirloomError, plain
from heirloom.failures import missing_library, sentence_of
from pipeline.paths import STATE


def one_sentence(error: BaseException) -> str:
    """Return what to tell of an error, in one line; of one that is no HeirloomError with the place of its trace."""
    if isinstance(error, HeirloomError):
        return str(error)
    if missing := missing_library(error):
        return missing
    said = sentence_of(error) or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return f"unexpected {plain(said)}; the trace is in {save_trace(error)}: please report it"


def save_trace(error: BaseException) -> Path:
    """Write an error's trace to .heirloom/traces, or where files for a moment go when that cannot be written."""
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{type(error).__name__}.txt"
    text = "".join(traceback.format_exception(error))
    for folder in (STATE / "traces", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, errors="replace", encoding="utf-8")
        except OSError:
            continue
        return folder / name
    raise error
