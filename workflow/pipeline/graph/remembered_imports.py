"""What each module imports, remembered from one command to the next: every job asks, and parsing takes 0.6 s."""

import functools
from pathlib import Path

from heirloom import code_closure
from heirloom.launcher.dvc_hashes import stamp
from pipeline.paths import CACHE
from pipeline.remembering import RememberedByFile

_FILE = CACHE / "imports.json"


@functools.cache
def remembered_imports() -> RememberedByFile:
    """Return path → the dotted names that a source file imports, shared in this process."""
    version = [1, stamp(Path(code_closure.__file__).stat())]  # what is found depends on who looks
    return RememberedByFile(_FILE, version, lambda path: list(code_closure.imported_names(Path(path))))
