"""The file that stands for a program's code: a line for each module, its digest and its path.

Its hash is in the entry of every stage of the program. DVC makes the file in the stage `digest-code`, everything else
here computes it, so that what is believed is the code and not the file. A listing is kept in DVC's cache under its
hash, and tells later which modules are no longer as they were.
"""

import functools
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import stamp
from pipeline.code import syntax
from pipeline.dvc_project import cache_folder
from pipeline.folder_objects import is_hash, object_path
from pipeline.graph import code, code_file
from pipeline.paths import CACHE
from pipeline.remembering import RememberedByFile

_FILE = CACHE / "code.json"


@functools.cache
def remembered_digests() -> RememberedByFile:
    """Return path → digest of a module, shared in this process. Raises HeirloomError for one that is no Python."""
    return RememberedByFile(_FILE, [1, stamp(Path(syntax.__file__).stat())], digest_of)


def digest_of(path: str) -> str:
    """Return the digest of a module. Raises HeirloomError for one that is no Python."""
    try:
        return syntax.syntax_digest(Path(path).read_bytes())
    except (SyntaxError, ValueError) as error:
        place = f"{path}:{getattr(error, 'lineno', None) or 1}"
        raise HeirloomError(f"{place}: is not valid Python: {error}; mend it") from None


@functools.cache
def code_text(program: str) -> str:
    """Return the listing of a program as its modules are now, once a process."""
    text = listing({path: remembered_digests().of(path) for path in code(program)})
    remembered_digests().save()
    return text


def listing(modules: dict[str, str]) -> str:
    """Return path → digest as the text of a file."""
    return "".join(f"{modules[path]}  {path}\n" for path in sorted(modules))


def code_hash(program: str) -> str:
    """Return the hash of a program's listing as its modules are now."""
    return hashlib.md5(code_text(program).encode()).hexdigest()


def modules_in(text: str) -> dict[str, str]:
    """Return path → digest of a listing; lines of another form count as nothing."""
    rows = (line.partition("  ") for line in text.splitlines())
    return {path: digest for digest, _, path in rows if is_hash(digest) and path}


def kept_listing(value: str) -> dict[str, str] | None:
    """Return path → digest of the listing that had a hash; None when this machine does not know it any more."""
    try:
        content = object_path(value, cache_folder() / "files/md5").read_bytes()
    except OSError:
        return None
    return modules_in(content.decode(errors="replace")) if hashlib.md5(content).hexdigest() == value else None


def changed_modules(program: str, then: str) -> list[str]:
    """Return what is not as in the listing with the hash `then`: `scripts/x.py changed` for each module."""
    before, now = kept_listing(then), modules_in(code_text(program))
    if before is None:
        return [f"code of {program} changed"]
    words = {path: "changed" if path in before else "is new" for path in now if before.get(path) != now[path]}
    words |= {path: "is no longer imported" for path in before if path not in now}
    return [f"{path} {words[path]}" for path in sorted(words)]


def bring_in_step(programs: Iterable[str]) -> None:
    """Write the files of programs as their modules are now, and keep them in DVC's cache."""
    for program in programs:
        text = code_text(program)
        write_once(Path(code_file(program)), text, mode=0o644)
        with suppress(OSError):  # a full disk: the stage that it hinders says so, and the next call keeps it
            keep_listing(text)


def keep_listing(text: str) -> str:
    """Keep a listing in DVC's cache and return its hash."""
    value = hashlib.md5(text.encode()).hexdigest()
    write_once(object_path(value, cache_folder() / "files/md5"), text, mode=0o444)
    return value


def write_once(path: Path, text: str, mode: int) -> None:
    """Write a file in one step, unless it is so already; it may be a link into DVC's cache, which stays as it is."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(mode)
    partial.replace(path)
