"""Which files of a hub dataset hold which split of which configuration."""

import re
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.reading import parse_yaml
from heirloom.config.sections.source import DatasetSource
from heirloom.data.raw.data_folders import BY_CONFIGURATION, is_data, split_named_by
from heirloom.data.raw.raw_dataset import check_names
from heirloom.data.raw.raw_files import READERS, suffix_of
from heirloom.errors import HeirloomError
from heirloom.hub import HubFile, download, list_files, resolve_commit

CARD = "README.md"
PLAIN_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
LARGEST_CARD = 10_000_000
"""Bytes."""
BROKEN = (HeirloomError, TypeError, AttributeError, KeyError)
"""What a header in an unexpected form raises."""
REMEDY = "tell its author, or download the files yourself and name them by source.path"


def download_hub_dataset(source: DatasetSource, folder: Path, first_files: bool = False) -> tuple[str, dict[str, str]]:
    """Download the data files that `source` asks for; return the commit and {file: split}.

    `first_files`: of each split the first one alone. Raises HeirloomError when the repository, revision, configuration
    or a split does not exist.
    """
    commit = resolve_commit(source.hub, "dataset", source.revision)
    files = {file.path: file for file in list_files(source.hub, "dataset", commit)}
    configurations: dict[str, Any] = {}
    if CARD in files:
        if files[CARD].size > LARGEST_CARD:
            raise HeirloomError(f"hub: the dataset card of {source.hub} has {files[CARD].size:,} bytes: {REMEDY}")
        download(source.hub, "dataset", commit, [files[CARD]], folder)
        card = (folder / CARD).read_text(encoding="utf-8", errors="replace")
        configurations = declared_configurations(card, source.hub)
        (folder / CARD).unlink()
    if source.configs is not None:
        return commit, download_configurations(source, commit, files, configurations, folder)
    splits = choose_splits(choose_files(source, files, configurations), source)
    check_names(splits, source.hub)
    if first_files:
        splits = {path: split for split, path in {splits[path]: path for path in reversed(splits)}.items()}
    download(source.hub, "dataset", commit, [files[path] for path in splits], folder)
    return commit, splits


def download_configurations(
    source: DatasetSource,
    commit: str,
    files: dict[str, HubFile],
    configurations: dict[str, dict[str, Any]],
    folder: Path,
) -> dict[str, str]:
    """Download the configurations that `source` asks for; return {file: split}.

    The files of each are in BY_CONFIGURATION/NAME, since configurations share files. Raises HeirloomError when one is
    not there.
    """
    chosen: dict[str, dict[str, str]] = {}
    for pattern in source.configs or ():
        names = [name for name in configurations if fnmatchcase(name, pattern)]
        if not names:
            known = did_you_mean(pattern, configurations)
            raise HeirloomError(f"source.configs: {source.hub} has no configuration {pattern}; {known}")
        for name in names:
            if not PLAIN_NAME.fullmatch(name):
                raise HeirloomError(
                    f"source.configs: {source.hub} has a configuration {ascii(name)}, which cannot be a folder's name: "
                    "choose others"
                )
            alone = source.model_copy(update={"config": name, "configs": None})
            chosen[name] = choose_splits(choose_files(alone, files, configurations), alone)
    check_names((path for splits in chosen.values() for path in splits), source.hub)
    paths = dict.fromkeys(path for splits in chosen.values() for path in splits)
    download(source.hub, "dataset", commit, [files[path] for path in paths], folder)
    found = {}
    for name, splits in chosen.items():
        for path, split in splits.items():
            place = f"{BY_CONFIGURATION}/{name}/{path}"
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, folder / place)
            found[place] = split
    return found


def declared_configurations(card: str, repository: str) -> dict[str, dict[str, Any]]:
    """Return {name: declaration} of the `configs:` in the header of a dataset card; empty without one."""
    try:
        declared = parse_yaml(header_of(card), CARD).get("configs") or []
        found = {str(entry.get("config_name", "default")): entry for entry in declared}
    except BROKEN as error:
        raise broken_card(repository, error) from None
    return found


def broken_card(repository: str, error: Exception) -> HeirloomError:
    """Return the error for a dataset card whose header is not what cards say."""
    said = " ".join(str(error).split()) if isinstance(error, HeirloomError) else f"{type(error).__name__}: {error}"
    return HeirloomError(f"hub: the dataset card of {repository} has a broken header ({said}): {REMEDY}")


def header_of(card: str) -> str:
    """Return what stands between the first two lines of `---`, of a card that begins with one; else nothing."""
    lines = card.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return ""
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), 1)
    return "\n".join(lines[1:end])


def choose_files(
    source: DatasetSource, files: dict[str, HubFile], configurations: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """Return {file: split} of the configuration that `source` asks for.

    The dataset card's `configs:` decide; where it has none, the names of folders and files do.
    """
    if configurations:
        name = source.config or default_configuration(configurations, source.hub)
        if name not in configurations:
            raise HeirloomError(
                f"source.config: {source.hub} has no configuration {name}; {did_you_mean(name, configurations)}"
            )
        try:
            declared = {path: str(split) for path, split in declared_files(configurations[name], list(files))}
        except BROKEN as error:
            raise broken_card(source.hub, error) from None
        return {path: split for path, split in declared.items() if matches(path, source.files)}
    data = [path for path in files if is_data(path) and not any(part.startswith(".") for part in Path(path).parts)]
    data = [path for path in data if matches(path, source.files)]
    if source.config:
        data = [path for path in data if source.config in Path(path).parts[:-1]]
    kinds = sorted({suffix_of(Path(path)) for path in data})
    if len(kinds) > 1 and not source.files:
        raise HeirloomError(
            f"source: {source.hub} holds {' and '.join(kinds)} files, perhaps the same rows twice: choose with "
            f"source.files, for instance ['*{kinds[0]}']"
        )
    return {path: split_named_by(path) for path in data}


def default_configuration(configurations: dict[str, dict[str, Any]], repository: str) -> str:
    """Return the configuration that is meant when none is named."""
    if "default" in configurations:
        return "default"
    marked = [name for name, declared in configurations.items() if declared.get("default")]
    if marked or len(configurations) == 1:
        return (marked or list(configurations))[0]
    raise HeirloomError(
        f"source.config is missing: {repository} has the configurations {', '.join(configurations)}; choose one"
    )


def declared_files(declared: dict[str, Any], files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (file, split) for a declaration of the dataset card: `data_files` in any of its forms, or `data_dir`."""
    folder = str(declared.get("data_dir") or "").strip("/")
    inside = f"{folder}/" if folder else ""
    patterns = declared.get("data_files")
    if patterns is None:
        patterns = [{"split": None, "path": f"{inside}**"}]
        inside = ""
    elif isinstance(patterns, str) or (isinstance(patterns, list) and all(isinstance(item, str) for item in patterns)):
        patterns = [{"split": "train", "path": patterns}]
    elif isinstance(patterns, dict):
        patterns = [{"split": split, "path": path} for split, path in patterns.items()]
    for entry in patterns:
        wanted = [entry["path"]] if isinstance(entry["path"], str) else entry["path"]
        for path in files:
            if is_data(path) and matches(path, [f"{inside}{pattern}" for pattern in wanted]):
                yield path, entry["split"] or split_named_by(path)


def choose_splits(files: dict[str, str], source: DatasetSource) -> dict[str, str]:
    """Return the files of the splits that `source` asks for."""
    present = list(dict.fromkeys(files.values()))
    if not files:
        wanted = f" that match {', '.join(source.files)}" if source.files else ""
        wanted += f" of configuration {source.config}" if source.config else ""
        raise HeirloomError(f"source: {source.hub} holds no data files{wanted}; known are {', '.join(READERS)}")
    for split in source.splits or ():
        if split not in present:
            raise HeirloomError(f"source.splits: {source.hub} has no split {split}; {did_you_mean(split, present)}")
    return {path: split for path, split in files.items() if not source.splits or split in source.splits}


def matches(path: str, patterns: Sequence[str] | None) -> bool:
    """Tell whether a path matches one of the patterns (`*` within a folder, `**` across folders); none means all."""
    return patterns is None or any(matches_pattern(path.split("/"), pattern.split("/")) for pattern in patterns)


def matches_pattern(parts: list[str], pattern: list[str]) -> bool:
    """Tell whether the parts of a path match those of a pattern, in time that grows with their product only."""
    reached = {0}  # so many parts are used up by the pattern until here
    for number, wanted in enumerate(pattern):
        if wanted == "**":
            least = min(reached, default=len(parts) + 1) + (number + 1 == len(pattern))  # at its end at least a file
            reached = set(range(least, len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], wanted)}
    return len(parts) in reached
