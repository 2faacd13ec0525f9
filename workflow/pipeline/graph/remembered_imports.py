"""What each module imports, remembered from one command to the next: every job asks, and parsing takes 0.6 s."""

import functools
from pathlib import Path

from heirloom import code_closure
from heirloom.launcher.dvc_hashes import stamp
from pipeline.paths import CACHE
from pipeline.remembering import recall, remember

_FILE = CACHE / "imports.json"


class RememberedImports:
    """Names by file, as long as the file keeps its size, time and inode."""

    def __init__(self) -> None:
        self.version = [1, stamp(Path(code_closure.__file__).stat())]  # what is found depends on who looks
        self.known: dict[str, list] = recall(_FILE, self.version)
        self.changed = False

    def of(self, file: Path) -> tuple[str, ...]:
        """Return the dotted names that a source file imports."""
        found = self.known.get(str(file))
        now = stamp(file.stat())
        if found is None or found[0] != now:
            found = self.known[str(file)] = [now, list(code_closure.imported_names(file))]
            self.changed = True
        return tuple(found[1])

    def save(self) -> None:
        """Write what was learnt."""
        if self.changed:
            remember(_FILE, self.version, self.known)
            self.changed = False


@functools.cache
def remembered_imports() -> RememberedImports:
    """Return the names that this process shares."""
    return RememberedImports()
