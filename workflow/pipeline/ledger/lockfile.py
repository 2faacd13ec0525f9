"""dvc.lock, read and written entry by entry.

DVC writes one block of text a stage. Each block is parsed once and remembered by its hash, so that reading the
lock again after one stage has run parses one block, not thousands; writing an entry replaces one block.
"""

import hashlib
import io
import os
import re
import subprocess
from collections import OrderedDict
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from heirloom.errors import HeirloomError
from pipeline.ledger.entries import Entry
from pipeline.ledger.entry_form import is_entry
from pipeline.ledger.locking import text_between_writes
from pipeline.paths import CACHE, DVC_LOCK
from pipeline.remembering import recall, remember

HEAD = "schema: '2.0'\nstages:\n"
EMPTY = "schema: '2.0'\nstages: {}\n"
UNBROKEN = 1 << 30
"""Characters of a line that no line of ours has."""
BLOCK = re.compile(r"^  (?P<name>[^\s#'\"].*?):\n(?P<body>(?:^(?:    .*|  - .*|)\n?)+)", re.MULTILINE)
_VERSION = 1


class DamagedLockError(HeirloomError):
    """dvc.lock is not what DVC writes: cut short by a crash, or with conflict marks of a merge; `what` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: `make dvc.yaml` puts it aside and writes it anew")
        self.what = what


def read_lock(path: Path = DVC_LOCK) -> dict[str, Entry]:
    """Return stage → entry; empty when there is no lock yet. Raises DamagedLockError."""
    if not os.path.lexists(path):
        return {}
    try:
        text = text_between_writes(path)
    except UnicodeDecodeError as error:
        raise DamagedLockError(f"{path} is not text: byte {error.start + 1} is not UTF-8") from error
    except OSError as error:
        raise HeirloomError(f"{path} cannot be read ({error.strerror}): mend it, or `git checkout {path}`") from error
    if not text.strip():
        raise DamagedLockError(f"{path} is empty, as a process leaves it that is killed while it writes")
    blocks = split_blocks(text, path)
    known = recall(CACHE / "lock.json", _VERSION)
    hashes = {name: hashlib.md5(block.encode()).hexdigest() for name, block in blocks.items()}
    try:
        entries = {
            name: known[hashes[name]] if hashes[name] in known else parse_block(block)[name]
            for name, block in blocks.items()
        }
    except (YAMLError, KeyError, TypeError, RecursionError) as error:
        raise DamagedLockError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    for name, entry in entries.items():
        if hashes[name] not in known and not is_entry(entry, with_products=False):
            raise DamagedLockError(f"{path}: {name} is not an entry as DVC writes them (cmd, deps, params, outs)")
    if set(known) != set(hashes.values()):
        remember(CACHE / "lock.json", _VERSION, {hashes[name]: entry for name, entry in entries.items()})
    return entries


def committed_lock(commit: str) -> dict[str, Entry]:
    """Return stage → entry as dvc.lock of a commit records it; empty when the commit has none. Writes nothing."""
    words = ["git", "show", f"{commit}:./{DVC_LOCK}"]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False)
    return (YAML(typ="safe").load(done.stdout) or {}).get("stages") or {} if done.returncode == 0 else {}


def last_committed_lock() -> dict[str, Entry]:
    """Return the entries of the last commit's dvc.lock that have their form; none where that is damaged itself."""
    try:
        found = committed_lock("HEAD")
        return {name: entry for name, entry in found.items() if is_entry(entry, with_products=False)}
    except (YAMLError, AttributeError, OSError, RecursionError):
        return {}


def write_entries(changes: dict[str, Entry | None], path: Path = DVC_LOCK) -> None:
    """Put entries into the lock, None takes one out; the file is replaced in one step.

    The caller holds DVC's lock (`locking.dvc_lock`), or another process's entry could be lost.
    """
    if not changes:
        return
    blocks = split_blocks(path.read_text(encoding="utf-8"), path) if path.exists() else {}
    for name, entry in changes.items():
        if entry is None:
            blocks.pop(name, None)
        else:
            blocks[name] = format_block(name, entry)
    write_blocks(blocks, path)


def replace_damaged(entries: dict[str, Entry]) -> None:
    """Put a lock that cannot be read aside, as dvc.lock.damaged, and write `entries` in its place.

    The caller holds DVC's lock.
    """
    DVC_LOCK.rename(DVC_LOCK.with_suffix(".lock.damaged"))
    write_entries(entries)


def write_blocks(blocks: dict[str, str], path: Path) -> None:
    """Replace the lock by these blocks, in one step."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(HEAD + "".join(blocks.values()) if blocks else EMPTY, encoding="utf-8")
    partial.replace(path)


def split_blocks(text: str, path: Path) -> dict[str, str]:
    """Return stage → its block of text. Raises DamagedLockError where the text is not in DVC's form."""
    if text.strip() in ("", "schema: '2.0'", EMPTY.strip()):
        return {}
    head, found, body = text.partition("stages:\n")
    if not found or head.strip() != "schema: '2.0'":
        raise DamagedLockError(f"{path} does not begin as DVC writes it (schema: '2.0', stages:)")
    blocks, end = {}, 0
    for match in BLOCK.finditer(body):
        if match.start() != end:
            break
        blocks[match["name"]] = match[0]
        end = match.end()
    if end != len(body) or not body.endswith("\n"):
        line = (head + found + body[:end]).count("\n") + 1
        raise DamagedLockError(f"{path}:{line} is not in the form that DVC writes")
    return blocks


def parse_block(block: str) -> dict[str, Entry]:
    """Return {stage: entry} of one block, with the YAML semantics of DVC."""
    return YAML(typ="safe").load(block)


def format_block(name: str, entry: Entry) -> str:
    """Return the block that DVC itself would write for an entry, but for lines that it would break wrongly."""
    text = formatted(name, entry)
    # ruamel breaks a long line with a tab in it so that it reads otherwise
    reads_as_it_was = YAML(typ="safe").load(text) == {name: entry}
    return text if reads_as_it_was else formatted(name, entry, width=UNBROKEN)


def formatted(name: str, entry: Entry, width: int | None = None) -> str:
    """Return an entry as YAML, its long lines broken at `width`."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = width
    yaml.Representer.add_representer(OrderedDict, yaml.Representer.represent_dict)  # DVC makes such entries
    stream = io.StringIO()
    yaml.dump({"stages": {name: entry}}, stream)  # at its depth, which decides where long lines are broken
    return stream.getvalue().removeprefix("stages:\n")
