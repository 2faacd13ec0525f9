"""Write commits in place of branches and tags into files of config/: what is pinned gives the same bytes for ever.

    python scripts/pin.py                        # every model and dataset from the hub that is not pinned (`make pin`)
    python scripts/pin.py llama3-8b no-robots    # these files alone, by their names
    python scripts/pin.py --check                # write nothing; end with 1 while one is not pinned

In:  config/models/ and config/datasets/, also of the folders that are read beside them; the hub, and HF_TOKEN for what
     is private.
Out: `source.revision:` of these files is the commit that the branch or tag means now; all else in them stays, comments
     too. A stage whose source is pinned so fetches it again, once.
Exit status: 0 when all that was asked for is pinned, else 1, with a sentence for each that is not.
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import argparse
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode

from heirloom.config.folders import named_files
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.errors import HeirloomError, plain
from heirloom.failures import ends_in_one_sentence
from heirloom.hub import COMMIT, commit_of

KINDS = {"models": "model", "datasets": "dataset"}
"""Folder of config/ → kind of repository."""
NEWLINE = re.compile(r"\r?\n")


class Source(NamedTuple):
    """A `source:` from the hub, where it stands in its file."""

    file: Path
    kind: str
    hub: ScalarNode
    revision: str | None
    place: tuple[int, int] | None
    """Where the revision stands in the text; None without a key for it."""
    flow: bool
    """`{hub: …}` rather than lines."""

    @property
    def pinned(self) -> bool:
        return COMMIT.fullmatch(self.revision or "") is not None


def main() -> int:
    options = parse_arguments()
    wrong = 0
    with ends_in_one_sentence():
        found = [source for source in sources(options.names) if not source.pinned]
    for source in found:
        try:
            said = told(source) if options.check else pin(source)
        except HeirloomError as error:
            said, wrong = None, wrong + 1
            print(f"error: {source.file}: {plain(str(error))}", file=sys.stderr)
        if said:
            print(plain(said), flush=True)
    if not found:
        print("every source from the hub is pinned")
    return 1 if wrong or (options.check and found) else 0


def told(source: Source) -> str:
    """Return what is said of a source that is not pinned."""
    means = source.revision or "no revision"
    return f"{source.file}: {source.hub.value} is not pinned ({means}): `make pin` writes the commit"


def sources(names: list[str]) -> list[Source]:
    """Return the sources from the hub of files with these names, of all files without one. Raises HeirloomError."""
    files = {(kind, name): file for kind in KINDS for name, file in named_files(Path(), kind).items()}
    known = {name for _, name in files}
    for name in names:
        if name not in known:
            raise HeirloomError(f"there is no model or dataset {name}; {did_you_mean(name, known, 'there are')}")
    read = (source_in(file, KINDS[kind]) for (kind, name), file in files.items() if not names or name in names)
    return [source for source in read if source is not None]


def source_in(file: Path, kind: str) -> Source | None:
    """Return the source from the hub in a file; None in one that has another. Raises HeirloomError."""
    try:
        text = file.read_bytes().decode()
        root = YAML(typ="safe", pure=True).compose(text)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise HeirloomError(f"{file}: {' '.join(str(error).split())}") from None
    source = children(root).get("source")
    keys = children(source)
    if "hub" not in keys or not isinstance(keys["hub"], ScalarNode):
        return None
    revision, place = keys.get("revision"), None
    if revision is not None:
        place = (revision.start_mark.index, revision.end_mark.index)
        if place[0] == place[1]:  # nothing stands there, and the mark is where the next thing begins
            (key,) = (key for key, value in source.value if value is revision)
            place = (text.index(":", key.end_mark.index) + 1,) * 2
    return Source(file, kind, keys["hub"], revision and revision.value, place, bool(source.flow_style))


def children(node: object) -> dict[str, object]:
    """Return key → node of a mapping; empty for anything else."""
    return {key.value: value for key, value in node.value} if isinstance(node, MappingNode) else {}


def pin(source: Source) -> str:
    """Write the commit that a source means now into its file. Raises HeirloomError when the hub does not tell it."""
    repository, revision = source.hub.value, source.revision
    commit = commit_of(repository, source.kind, revision)
    text = source.file.read_bytes().decode()
    written = commit if isinstance(YAML(typ="safe", pure=True).load(commit), str) else f'"{commit}"'  # 40 digits, 1e…
    if source.place is not None:
        begin, end = source.place
        text = f"{text[:begin]}{' ' if text[begin - 1] == ':' else ''}{written}{text[end:]}"
    else:
        begin, end = text.rfind("\n", 0, source.hub.start_mark.index) + 1, source.hub.end_mark.index
        indent = " " * (len(text[begin:end]) - len(text[begin:end].lstrip(" ")))
        between = ", " if source.flow else f"{NEWLINE.search(text)[0]}{indent}"
        text = f"{text[:end]}{between}revision: {written}{text[end:]}"
    partial = source.file.with_name(f".{source.file.name}.{os.getpid()}.partial")
    partial.write_bytes(text.encode())
    partial.replace(source.file)
    return f"{source.file}: {repository} at {commit}{f' (was {revision})' if revision else ''}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of models and datasets; absent: all")
    parser.add_argument("--check", action="store_true", help="say what is not pinned, and write nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
