"""Read and check the files of config/, each by itself; unchanged ones come from a cache of parsed files.

The cache is one JSON file. An entry counts while the bytes of its YAML file, and the code and the schemas that
check it, are the same, so a cache can be deleted, damaged or shared between branches without harm.
"""

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from heirloom.config.arguments.library_arguments import SCHEMAS, argument_problems, config_problems
from heirloom.config.dataset import Dataset
from heirloom.config.elsewhere import elsewhere
from heirloom.config.folders import NAME, PROJECT_FILE, read_folders
from heirloom.config.model import Model
from heirloom.config.parsing.mistakes import ConfigErrors, Mistake, did_you_mean, is_secret
from heirloom.config.parsing.named_file import NamedFile, Problems
from heirloom.config.parsing.reading import dotted, line_of, parse_yaml, read_bytes, read_text
from heirloom.config.run import Run
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.sweeps.members import Member, expand, is_written, told_at_sweep
from heirloom.config.sweeps.sweep import Keys, Sweep, sweep_problems

KINDS: dict[str, type[NamedFile]] = {"datasets": Dataset, "models": Model, "runs": Run}
"""What others name. Sweeps are read besides: each stands for runs."""


@dataclass
class Files:
    """The files of config/ by kind and name, and what is wrong with each by itself."""

    root: Path
    datasets: dict[str, Dataset] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    """The runs that sweeps stand for, by the paths of their files."""
    unknown_members: set[str] = field(default_factory=set)
    """The sweeps of which nobody knows the members, as something is wrong with them or the run they start from."""

    def mistake(self, file: str, keys: tuple[str | int, ...], problem: str) -> Mistake:
        """Return a mistake in one of the files, with its line."""
        return Mistake(file, line_of(read_text(self.root / file), keys), dotted(keys), problem)

    def mistakes_of(self, problems: Iterable[tuple[str, Keys, str]]) -> Iterator[Mistake]:
        """Yield the mistakes that problems are; of runs of a sweep in the sweep's file, each once."""
        by_sweep: dict[str, list[tuple[Member, Keys, str]]] = {}
        by_file: dict[str, list[tuple[Keys, str]]] = {}
        for file, keys, problem in problems:
            if (member := self.members.get(file)) is not None:
                by_sweep.setdefault(member.sweep, []).append((member, keys, problem))
            else:
                by_file.setdefault(file, []).append((keys, problem))
                yield self.mistake(file, keys, problem)
        for sweep in self.sweeps.values():
            found = by_sweep.get(sweep.path, [])
            of_base = by_file.get(found[0][0].base, []) if found else []
            yield from (self.mistake(sweep.path, *told) for told in told_at_sweep(found, of_base, sweep))


def read_files(root: Path, cache: Path | None) -> Files:
    """Read {datasets,models,runs,sweeps}/*.yaml of the folders that are read below `root`; `cache` is a folder or None.

    The runs that a sweep stands for are made of the sweep's file and of that of the run it starts from: whether their
    own files are written makes no difference here.
    """
    refuse_absence(root)
    files = Files(root)
    known = load_cache(cache)
    seen: dict[str, Any] = {}
    contents: dict[str, bytes] = {}
    changed = False
    folders = read_folders(root, files.mistakes)

    def remembered(path: str, content: bytes, make: Callable[[], dict[str, Any]], part: str = "") -> dict[str, Any]:
        nonlocal changed
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        entry = known.get(path + part)
        if entry is None or entry["digest"] != digest:
            entry = {"digest": digest, **make()}
            changed = True
        seen[path + part] = entry
        files.mistakes += (Mistake(path, *mistake) for mistake in entry["mistakes"])
        return entry

    def add(known_files: dict[str, Any], file: NamedFile) -> None:
        first = known_files.setdefault(file.name, file)
        if first is not file:
            problem = f"there is also {first.path}, and a name is one file's: rename one (or see {PROJECT_FILE})"
            files.mistakes.append(Mistake(file.path, None, "", problem))

    for kind, model in {**KINDS, "sweeps": Sweep}.items():
        for path in (path for folder in folders for path in paths_of(root, folder, kind, files.mistakes)):
            try:
                content = contents[path] = read_bytes(root / path)
            except OSError as error:
                problem = f"cannot be read ({error.strerror}); mend or remove it"
                files.mistakes.append(Mistake(path, None, "", problem))
                continue
            if kind == "runs" and path.count("/") > 2 and is_written(content):
                continue
            entry = remembered(path, content, lambda: checked(content, path, model))  # noqa: B023 - called at once
            file, _ = model.check(entry["value"], path)
            add(getattr(files, kind), file)
    wrong = {mistake.file for mistake in files.mistakes}
    with_files = dict(files.runs)
    for sweep in files.sweeps.values():
        base = with_files.get(sweep.run or "")
        if base is None and sweep.run is not None:
            problem = f"there is no file of a run {sweep.run}; {did_you_mean(sweep.run, with_files)}"
            files.mistakes.append(files.mistake(sweep.path, ("run",), problem))
        if base is None or not wrong.isdisjoint((sweep.path, base.path)):
            files.unknown_members.add(sweep.name)
            continue
        both = base.path.encode() + b"\0" + contents[base.path] + b"\0" + contents[sweep.path]
        entry = remembered(sweep.path, both, lambda: expanded(sweep, base, root), ": members")  # noqa: B023
        for member in map(Member.from_json, entry["members"]):
            run, _ = Run.check(member.value, member.path)
            first = files.runs.setdefault(member.name, run)
            if first is run:
                files.members[member.path] = member
            elif first.path != member.path:  # one of that path is somebody's own by now, and stands for the member
                problem = f"{member.name} is one of its runs, and there is also {first.path}: rename one of them"
                files.mistakes.append(Mistake(sweep.path, None, "", problem))
    if cache is not None and (changed or len(seen) != len(known)):
        save_cache(cache, seen)
    return files


def expanded(sweep: Sweep, base: Run, root: Path) -> dict[str, Any]:
    """Return the members of a sweep, and what is wrong with them, each mistake once, as [line, key, sentence]."""
    members, problems = expand(sweep, base.raw, base.path)
    found = [
        (member, keys, problem)
        for member in members
        for keys, problem in value_problems(Run, member.value, member.path)
    ]
    problems += told_at_sweep(found, (), sweep)
    text = read_text(root / sweep.path)
    return {
        "members": [member.as_json() for member in members],
        "mistakes": [[line_of(text, keys), dotted(keys), problem] for keys, problem in problems],
    }


def refuse_absence(root: Path) -> None:
    """Raise ConfigErrors when there is no config/ with a folder for runs: nothing is not the same as nothing to do."""
    for folder, meaning in (("config", "what there is to make"), ("config/runs", "a file for each run")):
        if not (root / folder).is_dir():
            problem = f"there is no such folder in {root.absolute()}; it holds {meaning} (config/README.md)"
            raise ConfigErrors([Mistake(folder, None, "", problem)])


def paths_of(root: Path, folder: str, kind: str, mistakes: list[Mistake]) -> Iterator[str]:
    """Yield the files of a kind in one of the folders that are read; the runs below sweeps/NAME/ are runs, too."""
    yield from config_paths(root, f"{folder}/{kind}", mistakes)
    if kind == "runs":
        with suppress(OSError):  # sweeps/ itself is told of when it is read
            inner = sorted(path.name for path in (root / folder / "sweeps").iterdir() if path.is_dir())
            for name in inner:
                yield from config_paths(root, f"{folder}/sweeps/{name}", mistakes)


def config_paths(root: Path, place: str, mistakes: list[Mistake]) -> Iterator[str]:
    """Yield the configuration files of a folder, sorted; add a mistake for each file that is not one."""
    folder = root / place
    try:
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
    except OSError as error:
        mistakes.append(Mistake(place, None, "", f"cannot be read ({error.strerror}); give the permission"))
        return
    for name in names:
        path = f"{place}/{name}"
        stem, suffix = os.path.splitext(name)
        if name.startswith(".") or name == "README.md" or (place.endswith("/sweeps") and (folder / name).is_dir()):
            continue
        if suffix != ".yaml":
            other = f"call it {stem}.yaml" if suffix == ".yml" else "delete it"
            problem = f"is not read; only NAME.yaml belongs here: {other} or move it away"
            mistakes.append(Mistake(path, None, "", problem))
        elif not NAME.fullmatch(stem):
            usable = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:63] or "a-name"
            problem = f"a name is made of letters, digits, - and _, at most 63; call the file {usable}.yaml"
            mistakes.append(Mistake(path, None, "", problem))
        else:
            yield path


def checked(content: bytes, path: str, model: type[NamedFile]) -> dict[str, Any]:
    """Return a file's value and its own mistakes as [line, key, sentence]."""
    try:
        text = content.decode()
        value = parse_yaml(text, path)
    except UnicodeDecodeError:
        return {"value": {}, "mistakes": [[None, "", "is not UTF-8 text; save it with that encoding"]]}
    except ConfigErrors as error:
        lines = [[mistake.line, mistake.key, mistake.problem] for mistake in error.mistakes]
        return {"value": {}, "mistakes": lines}
    problems = value_problems(model, value, path)
    return {
        "value": value,
        "mistakes": [[line_of(text, keys), dotted(keys), problem] for keys, problem in problems],
    }


def value_problems(model: type[NamedFile], value: Any, path: str) -> Problems:
    """Return all that is wrong with the value of one file by itself: (nested keys, sentence)."""
    file, problems = model.check(value, path)
    problems += secret_problems(value)
    problems += number_problems(value)
    if isinstance(file, Run):
        problems += training_problems(file)
    if isinstance(file, Sweep) and not problems:
        problems += sweep_problems(file)
    if isinstance(file, Model) and file.init is not None:
        found = config_problems(file.init.model_type, file.init.passed_through)
        problems += ((("init", *keys), problem) for keys, problem in found)
    return problems


def training_problems(run: Run) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with the keys that a run passes through to transformers and TRL."""
    sections = {"training": (run.trainer, TrainingSection), "generation": ("generation_config", GenerationSection)}
    for name, (library, section) in sections.items():
        written = run.raw.get(name)
        if library is not None and isinstance(written, dict):
            arguments = {key: value for key, value in written.items() if key not in section.model_fields}
            for keys, problem in argument_problems(name, library, arguments, elsewhere, section.model_fields):
                yield (name, *keys), problem


def secret_problems(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the places that hold something like a credential; the credential itself is never shown."""
    problem = "looks like a credential; delete it here, revoke it, and give it in the environment (HF_TOKEN, …)"
    yield from ((keys, problem) for keys, leaf in leaves(value) if is_secret(keys[-1] if keys else "", leaf))


def number_problems(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the places that hold no number that could be compared or counted with: NaN is not even equal to itself."""
    for keys, leaf in leaves(value):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            yield keys, f"{leaf} is no number that a stage could be made with; write a finite one or delete the key"
        elif isinstance(leaf, int) and abs(leaf) >= 2**63:
            yield keys, "a whole number of more than 63 bits; write a smaller one"


def leaves(value: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield (nested keys, value) of everything in a file that is neither a mapping nor a list."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*keys, key))
    else:
        yield keys, value


# ---- the cache ----


def load_cache(folder: Path | None) -> dict[str, Any]:
    """Return the cached entries by path; none when the cache is absent, damaged or from other code."""
    try:
        seal, _, payload = (folder / "config.json").read_bytes().partition(b"\n") if folder else (b"", b"", b"")
        return json.loads(payload) if seal.decode() == sealed(payload) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def save_cache(folder: Path, entries: dict[str, Any]) -> None:
    """Replace the cache at once; a folder that cannot be written to means no cache, nothing worse."""
    payload = json.dumps({path: entry for path, entry in entries.items() if survives_json(entry)}).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=folder, prefix=".config.", delete=False) as file:
            file.write(sealed(payload).encode() + b"\n" + payload)
        os.replace(file.name, folder / "config.json")
    except OSError:
        return


def sealed(payload: bytes) -> str:
    """Return a digest of the cache's bytes and of all that decides whether a file of config/ is right."""
    digest = hashlib.blake2b(pydantic.VERSION.encode(), digest_size=16)
    for path in (*sorted(Path(__file__).parent.rglob("*.py")), *sorted(SCHEMAS.rglob("*.json"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(payload)
    return digest.hexdigest()


def survives_json(entry: dict[str, Any]) -> bool:
    """Whether a value comes back from JSON as it was: dates and keys that are no text do not."""
    try:
        return json.loads(json.dumps(entry)) == entry
    except TypeError:
        return False
