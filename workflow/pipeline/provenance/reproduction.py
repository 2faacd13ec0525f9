"""Make a stage again in a clean clone of a commit, and hold what it makes against what the commit records."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from heirloom.arithmetic.processor import PINS, facts_of_processor, has, widest
from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import files_below
from pipeline.dvc_project import cache_folder
from pipeline.folder_objects import read_list
from pipeline.git import git
from pipeline.graph import CODE_FOLDER, dvcfile, launched
from pipeline.ledger import (
    Entry,
    History,
    bytes_hash,
    committed_lock,
    content_hash,
    field_differences,
    recorded_outs,
)
from pipeline.paths import RECORDS
from pipeline.provenance.clean_clone import CleanClone
from pipeline.provenance.origin import commits_with_hash

GPU = (
    "a GPU took part: its kernels may add in another order each time, and another card, driver or number of cards "
    "computes other last digits, so equal bytes are not to be expected; compare the metrics"
)
UNKNOWN = "with what the recorded result was made is not recorded, so the environments cannot be compared"
NOT_DETERMINISTIC = (
    "machine, instruction set, ranks and versions are those of the recorded execution, and no GPU took part: the stage "
    "itself is not deterministic (a clock, an unseeded random number, the order of a set?)"
)
SET_UNKNOWN = (
    "the instruction set of the recorded execution is not recorded; other processors give other last digits, so equal "
    "bytes are not to be expected of one of another kind"
)
REPORT = "a report shows the times and the money that .heirloom/records tells of, which a clean clone does not have"


@dataclass(frozen=True)
class Product:
    """A product of the stage, as recorded and as made again."""

    path: str
    recorded: str
    """DVC's hash."""
    made: str | None
    """None when the stage did not make it this time."""
    files: list[str]
    """For a folder that differs: a line for each file that does."""

    @property
    def same(self) -> bool:
        return self.recorded == self.made


@dataclass(frozen=True)
class Reproduction:
    """What came out."""

    products: list[Product]
    reasons: list[str]
    """Why products may differ; none when none does."""


def commit_of(revision: str) -> str:
    """Return the commit that a git revision names, 40 hex digits. Raises HeirloomError when it names none."""
    words = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HeirloomError(f"{revision}: git knows no such commit here; `git log --all --oneline` lists them")
    return done.stdout.strip()


def uncommitted_changes() -> list[str]:
    """Return the files that differ from the commit that is checked out, or that git does not know."""
    return [line[3:] for line in git("status", "--porcelain", "--", ".").splitlines()]


def recorded_entry(commit: str, stage: str) -> Entry:
    """Return what dvc.lock of a commit records of a stage. Raises HeirloomError when it records nothing."""
    entries = {name: entry for name, entry in committed_lock(commit).items() if name not in dvcfile.GUARDS}
    if stage in entries:
        return entries[stage]
    if not entries:
        raise HeirloomError(f"commit {commit[:12]} has no dvc.lock, so no stage ever ran there: commit dvc.lock too")
    close = get_close_matches(stage, entries, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(entries)}"
    raise HeirloomError(f"{stage} never ran at commit {commit[:12]}, as its dvc.lock says; {hint}")


def reproduce(commit: str, stage: str, folder: Path, tell: Callable[[str], None]) -> Reproduction:
    """Make `stage` again in a clone of `commit` in `folder`, which is made, and compare its products.

    Raises HeirloomError when the commit does not record it, or records it for other code, config or inputs than it
    has; when an input is nowhere to be had; and when the stage fails.
    """
    entry = recorded_entry(commit, stage)
    clone = CleanClone(commit, folder)
    tell("bringing its inputs")
    bring_inputs(clone, commit, stage, entry)
    refuse_stale(clone, commit, stage, entry)
    then = History().made_with(stage, entry)
    products = made_again(clone, commit, stage, entry, then, tell)
    if all(product.same for product in products):
        return Reproduction(products, [])
    now = json.loads((clone.folder / RECORDS / f"{stage}.json").read_text(encoding="utf-8"))
    if stage.startswith("report-"):
        return Reproduction(products, [REPORT])
    return Reproduction(products, reasons(then, now, " torchrun " in entry["cmd"]))


def with_new_code(
    commit: str, stage: str, before: Entry, after: Entry, folder: Path, tell: Callable[[str], None]
) -> list[Product]:
    """Execute a stage with the code of a commit, in a clone of it, and compare what it makes with what is recorded.

    `before`: the recorded entry; `after`: the same with the commit's code. Raises HeirloomError when an input is
    nowhere to be had, when the commit is not what `after` says, and when the stage fails.
    """
    clone = CleanClone(commit, folder)
    tell("bringing its inputs")
    bring_inputs(clone, commit, stage, after)
    for dep in after["deps"]:
        if bytes_hash(str(clone.folder / dep["path"])) != dep["md5"]:
            raise HeirloomError(
                f"{dep['path']} of commit {commit[:12]} is not what lies here: commit what changed first"
            )
    return made_again(clone, commit, stage, before, History().made_with(stage, before), tell)


def made_again(
    clone: CleanClone, commit: str, stage: str, entry: Entry, then: dict, tell: Callable[[str], None]
) -> list[Product]:
    """Execute a stage whose inputs are in the clone, and compare its products with those of `entry`.

    `then`: the record of the execution that made these. Raises HeirloomError when the stage fails.
    """
    words = launched(entry["cmd"])
    if "--config" in words:  # a baseline's settings are in its command, and it tracks nothing
        clone.track_nothing(words[words.index("--config") + 1])
    clone.pins, told = pins(then.get("arithmetic", {}))
    if told:
        tell(told)
    tell("executing it")
    if clone.execute(stage) != 0:
        raise HeirloomError(f"{stage} failed in the clone of {commit[:12]}; what it said is above")
    return [compared(out, clone.folder) for out in entry["outs"]]


def pins(recorded: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """Return the variables by which this processor computes as the recorded one, and a sentence on that.

    None are needed where this one takes the same way by itself, or where a run is portable: there the launcher sets
    them. None help where this processor lacks the recorded instruction set, or has another maker: oneMKL asks for both.
    """
    if not recorded or recorded.get("mkl", "").startswith("MKL_CBWR="):
        return {}, None
    theirs, vendor = recorded.get("aten", ""), facts_of_processor()[0] or "unknown"
    if not has(theirs):
        return {}, (
            f"the recorded execution computed with {theirs} ({recorded.get('vendor')}), which this processor "
            f"({vendor}, {widest()}) does not have: other last digits are to be expected, and "
            "say nothing against the stage"
        )
    if vendor != recorded.get("vendor"):
        told = (
            f"the recorded processor was made by {recorded.get('vendor')}, this one by {vendor}: oneMKL computes in "
            "another way on each, so other last digits are to be expected (portable: true is for that)"
        )
        return (PINS[theirs] if theirs != widest() else {}), told
    if theirs == widest():
        return {}, None
    return PINS[theirs], f"held to the recorded instruction set, {theirs}, of which this processor has more: {widest()}"


def bring_inputs(clone: CleanClone, commit: str, stage: str, entry: Entry) -> None:
    """Put what the stage reads into the clone. Raises HeirloomError naming what is nowhere to be had."""
    recorded = recorded_outs(committed_lock(commit))
    deps = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    own = clone.own_data()
    clone.fetch({path: value for path, value in own.items() if path not in recorded})
    missing = lacking(clone, {path: value for path, value in own.items() if path not in recorded})
    if any(path.startswith(CODE_FOLDER) for path in deps):
        clone.digest_code()  # it checks the config, which wants what it names
    missing += clone.fetch({path: recorded[path]["md5"] for path in deps if path in recorded})
    missing += lacking(clone, {path: deps[path] for path in deps if path not in recorded and path not in own})
    if missing:
        raise HeirloomError(
            f"{', '.join(missing)}: read by {stage}, and neither in git, nor in DVC's cache here, nor in its remote: "
            "`dvc push` where it was made, or reproduce the stage that makes it"
        )


def lacking(clone: CleanClone, files: Mapping[str, str]) -> list[str]:
    """Copy a user's files (path → DVC hash) that the clone lacks from here; return those that are others here."""
    missing = []
    for path, value in files.items():
        if (clone.folder / path).exists():
            continue
        if bytes_hash(path) == value:
            clone.copy_user_file(path)
        else:
            missing.append(path)
    return missing


def refuse_stale(clone: CleanClone, commit: str, stage: str, entry: Entry) -> None:
    """Raise HeirloomError when the commit's code, config or inputs are not those of its record of the stage."""
    done = clone.dvc("status", "--json", stage)
    if done.returncode:
        raise HeirloomError(f"{stage} cannot be executed at commit {commit[:12]}: {done.stderr.strip()}")
    found = json.loads(done.stdout).get(stage, [])
    changes = [change for change in found if change == "changed command" or "changed deps" in change]
    names = [name for change in changes for name in (change["changed deps"] if isinstance(change, dict) else [change])]
    if names:
        made = [line.split()[0] for out in entry["outs"][:1] for line in commits_with_hash(out["md5"])]
        hint = f"; {', '.join(made)} recorded that result" if made else ""
        raise HeirloomError(
            f"at commit {commit[:12]} {stage} was stale: its result was made with other {', '.join(names)}{hint}"
        )


def compared(out: dict, folder: Path) -> Product:
    """Hash a product that was made again, without any memory of earlier hashes, and find the files that differ."""
    path, recorded = out["path"], out["md5"]
    made = bytes_hash(str(folder / path))
    folders = recorded.endswith(".dir") and made is not None and made.endswith(".dir")
    return Product(path, recorded, made, differing_files(recorded, folder / path) if folders else [])


def differing_files(recorded: str, folder: Path) -> list[str]:
    """Return a line for each file of a folder that is not as its recorded listing has it."""
    try:
        then = read_list(recorded, cache_folder() / "files/md5")
    except FileNotFoundError:
        return ["which of its files differ cannot be told: the recorded listing is not in the cache (make pull)"]
    now = {Path(name).as_posix(): content_hash(str(folder / name)) for name, _ in files_below(str(folder), str(folder))}
    words = {
        name: "differs" if name in then and name in now else "is new" for name in now if then.get(name) != now[name]
    }
    words |= {name: "is missing" for name in then if name not in now}
    return [f"{name} {words[name]}" for name in sorted(words)]


def reasons(then: dict, now: dict, gpus_help: bool) -> list[str]:
    """Return why products may differ, by the records of the two executions; `then` is empty when there is none.

    `gpus_help`: whether the stage's program uses GPUs where there are some.
    """
    if not then:
        return [UNKNOWN]
    found = [f"{text} (recorded → here)" for text in execution_differences(then, now)]
    if gpus_help and "arithmetic" not in then and then["ranks"]["device"] == "cpu":
        found.append(SET_UNKNOWN)
    if gpus_help and any(record["ranks"]["device"] != "cpu" for record in (then, now)):
        found.append(GPU)
    return found or [NOT_DETERMINISTIC]


def execution_differences(then: dict, now: dict) -> list[str]:
    """Return `versions.torch 2.12.0 → 2.13.0` for everything in which the records of two executions differ."""
    known = ("arithmetic",) if "arithmetic" in then else ()
    return [
        text
        for part in ("ranks", *known, "machine", "versions")
        for text in field_differences(then.get(part, {}), now.get(part, {}), part)
    ]
