"""Read configuration files as DVC reads them, and say on which line a key stands.

YAML 1.2 through the very loader that DVC uses for params files, so that a script and the ledger never see
different values: `1e-5` and `1e5` are floats, `010` is ten, `0o10` is eight, `yes` and `1:30` are text.
"""

import errno
import functools
import io
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from heirloom.config.parsing.mistakes import ConfigErrors, Keys, Mistake, explain
from heirloom.config.parsing.section import Section
from heirloom.errors import HeirloomError

LARGEST = 1_000_000
"""Bytes of a file of config/."""
DEEPEST = 50
MOST_VALUES = 10_000
"""Values in a file of config/, with those that its aliases repeat."""
AnySection = TypeVar("AnySection", bound=Section)


def read_yaml(path: Path | str) -> Any:
    """Return the value of a YAML file; an empty file is an empty mapping.

    Raises ConfigErrors when the file is missing, is not UTF-8, is not YAML or gives a key twice.
    """
    return parse_yaml(read_text(path), path)


def read_text(path: Path | str) -> str:
    """Return a file's text; raises ConfigErrors when it is missing or is not UTF-8."""
    try:
        return read_bytes(Path(path)).decode()
    except FileNotFoundError:
        problem = "there is no such file"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text; save it with that encoding"
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); mend or remove it"
    raise ConfigErrors([Mistake(str(path), None, "", problem)]) from None


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes. Raises OSError, also for what is no plain file (a pipe is waited for) or too large."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    if info.st_size > LARGEST:
        raise OSError(errno.EFBIG, f"it has {info.st_size:,} bytes, and a file of config/ at most {LARGEST:,}")
    return path.read_bytes()


def parse_yaml(text: str, path: Path | str) -> Any:
    """Return the value of YAML text, of none an empty mapping; `path` is named in errors. Raises ConfigErrors."""
    try:
        refuse_deep_nesting(text)
        if "&" in text and "*" in text:
            refuse_explosion(text, path)
        value = YAML(typ="safe").load(text)
        value = {} if value is None else value
        if depth(value) > DEEPEST:
            raise RecursionError
        return value
    except RecursionError:
        problem = f"is nested more than {DEEPEST} levels deep; a file of config/ needs a few"
        raise ConfigErrors([Mistake(str(path), None, "", problem)]) from None
    except YAMLError as error:
        raise ConfigErrors([syntax_mistake(error, text, str(path))]) from None
    except ValueError as error:  # a date that does not exist
        raise ConfigErrors([Mistake(str(path), None, "", f"a value cannot be read: {error}")]) from None


def depth(value: Any) -> int:
    """Return how many levels of mappings and lists a value has, counted up to one more than DEEPEST."""
    level, found = [value], 0
    while level and found <= DEEPEST:
        inner = [each for each in level if isinstance(each, dict | list)]
        level = [part for each in inner for part in (each.values() if isinstance(each, dict) else each)]
        found += 1
    return found


def refuse_deep_nesting(text: str) -> None:
    """Raise RecursionError for what is nested too deep: the parser, which is in C, would end the whole process.

    What is nested by indentation alone cannot be so deep in a file of this size.
    """
    if max(text.count("[") + text.count("{"), text.count("- -"), text.count("? ?")) <= DEEPEST:
        return
    level = 0
    for event in YAML(typ="safe").parse(text):
        level += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if level > DEEPEST + 1:
            raise RecursionError


def refuse_explosion(text: str, path: Path | str) -> None:
    """Raise ConfigErrors for a few lines whose aliases (`*name`) stand for millions of values, or for themselves."""
    sizes: dict[int, int] = {}

    def size(node: Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES + 1  # what it is while it is counted: an alias to itself never ends
            inner = node.value if isinstance(node, MappingNode | SequenceNode) else ()
            parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if (tree := syntax_tree(text)) is not None and size(tree) > MOST_VALUES:
        problem = f"its aliases (*name) stand for more than {MOST_VALUES:,} values; write out what is meant"
        raise ConfigErrors([Mistake(str(path), None, "", problem)])


def syntax_mistake(error: YAMLError, text: str, path: str) -> Mistake:
    """Turn ruamel.yaml's several lines into one sentence with a line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    last = max(len(text.splitlines()), 1)  # an open bracket is missed after the end of the file only
    line = min(mark.line + 1, last) if mark else None
    problem = (getattr(error, "problem", None) or str(error)).splitlines()[0]
    if isinstance(error, DuplicateKeyError):
        key = problem.split('"')[1]
        first = f" (the mapping starts on line {error.context_mark.line + 1})" if error.context_mark else ""
        return Mistake(path, line, key, f"this key is given twice{first}; keep one")
    context = getattr(error, "context", None)
    return Mistake(path, line, "", f"is not valid YAML: {f'{context}, ' if context else ''}{problem}")


def locate(path: Path | str, keys: Keys) -> int | None:
    """Return the line, counted from 1, on which the nested `keys` stand in a YAML file.

    A key that is absent (say, a missing one) gives the line of the deepest one that is there.
    """
    return line_of(Path(path).read_bytes().decode(), tuple(keys))


def line_of(text: str, keys: Keys) -> int | None:
    """Return the line, counted from 1, on which the nested `keys` stand in YAML text."""
    node, line = syntax_tree(text), None
    for key in keys:
        if isinstance(node, MappingNode):
            found = next(((name, value) for name, value in node.value if name.value == str(key)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line


@functools.lru_cache(maxsize=8)
def syntax_tree(text: str) -> Node | None:
    """Return ruamel.yaml's node tree of a text; None for one that does not parse, which is told elsewhere."""
    try:
        return YAML(typ="safe").compose(io.StringIO(text))
    except (YAMLError, RecursionError):
        return None


def read_section(path: Path | str, name: str, section: type[AnySection], *, required: bool = True) -> AnySection:
    """Return the section `name` of a configuration file, checked, with the defaults filled in.

    An absent section gives the defaults when it is not `required`. Raises ConfigErrors naming file, line and key.
    """
    return validated_section(read_yaml(path), path, name, section, required=required)


def validated_section(
    value: Any, path: Path | str, name: str, section: type[AnySection], *, required: bool = True
) -> AnySection:
    """Do the same for the `value` of the file at `path`, which was read before."""
    if not isinstance(value, dict) or (name not in value and required):
        known = ", ".join(map(str, value)) if isinstance(value, dict) else "no keys"
        raise HeirloomError(f"{path}: has no section `{name}:`; it holds {known}")
    try:
        return section.model_validate(value.get(name, {}))
    except ValidationError as error:
        raise ConfigErrors(
            [
                Mistake(str(path), locate(path, (name, *keys)), dotted((name, *keys)), problem)
                for keys, problem in explain(error, section, value[name])
            ]
        ) from None


def dotted(keys: Keys) -> str:
    """Return nested keys as one name: `evaluation.metrics[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
