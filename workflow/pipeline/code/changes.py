"""Which statements of a program differ between two states of its code, and so have to be executed to prove anything.

Statements are compared by their syntax, one by one, a compound one by its head. A name that was changed everywhere at
once (a function with its callers, a module that was moved with its imports) is no change: both states are the same to
Python. What then remains has to have run:

- each statement that is new or another one, in the new state, and each that is gone, in the old one;
- of a function whose head changed, the first statement of its body;
- of a name of a module or class that has another value, every statement of a function that mentions it.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePath

from pipeline.code.syntax import is_text, written

BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
ALIKE = 0.6
"""So much of a module must be as it was for it to count as moved."""
LOOKING_UP = frozenset(map(repr, ("getattr", "setattr", "hasattr", "globals", "vars", "import_module", "__dict__")))
"""Functions and names by which things are looked up by texts."""
_NAME = re.compile(r" (id|attr|name|asname|arg|module)=$")
_UNSEEN = (ast.Global, ast.Nonlocal)
"""Statements that leave no trace when they are executed."""


@dataclass(frozen=True)
class Statement:
    """A statement without what it contains."""

    path: str
    first: int
    last: int
    """Lines of its head, from 1."""
    tokens: tuple[str, ...]
    within: str
    """What it stands in: `module`, `class` or `function`."""
    node: ast.AST

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def place(self) -> str:
        return f"{self.path}:{self.first}"


@dataclass(frozen=True)
class Changes:
    """What has to have been executed."""

    before: list[Statement]
    after: list[Statement]
    renamed: dict[str, str]
    """Names that were changed everywhere at once."""


def changes_between(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Changes:
    """Return what differs between two states of a program: path → text of each of its modules."""
    then = {path: list(statements(path, text)) for path, text in before.items()}
    now = {path: list(statements(path, text)) for path, text in after.items()}
    gone, new, pairs = [], [], []
    for old, path in matched(then, now):
        left, right = then.get(old, []), now.get(path, [])
        matcher = SequenceMatcher(None, [each.text for each in left], [each.text for each in right], autojunk=False)
        for kind, a, b, c, d in matcher.get_opcodes():
            if kind == "replace" and b - a == d - c:
                pairs += zip(left[a:b], right[c:d], strict=True)
            elif kind != "equal":
                gone += left[a:b]
                new += right[c:d]
    renamed = renames(pairs, then, now)
    for left, right in pairs:
        if tuple(renamed_token(left.tokens, place, renamed) for place in range(len(left.tokens))) != right.tokens:
            gone.append(left)
            new.append(right)
    every_then = [each for found in then.values() for each in found]
    every_now = [each for found in now.values() for each in found]
    return Changes(with_what_follows(gone, every_then), with_what_follows(new, every_now), renamed)


def statements(path: str, source: bytes) -> Iterator[Statement]:
    """Yield the statements of a module, each before those that it contains."""

    def inside(node: ast.AST, within: str) -> Iterator[Statement]:
        for field in BODIES:
            for child in getattr(node, field, None) or []:
                if not isinstance(child, ast.AST) or is_text(child):
                    continue
                yield Statement(path, *head_lines(child), tuple(head(child)), within, child)
                if isinstance(child, ast.ClassDef):
                    yield from inside(child, "class")
                else:
                    function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                    yield from inside(child, "function" if function else within)

    yield from inside(ast.parse(source), "module")


def head(node: ast.AST) -> Iterator[str]:
    """Yield a statement's syntax without its blocks."""
    yield f"{type(node).__name__}"
    for name in sorted(node._fields):
        if name not in BODIES and getattr(node, name, None) not in (None, []):
            yield f" {name}="
            yield from written(getattr(node, name))


def head_lines(node: ast.AST) -> tuple[int, int]:
    """Return the first and last line of a statement without its blocks."""
    first = getattr(node, "lineno", None) or node.pattern.lineno  # a `case` has no line of its own
    blocks = [child for field in BODIES for child in getattr(node, field, None) or [] if isinstance(child, ast.AST)]
    decorators = [each.lineno for each in getattr(node, "decorator_list", [])]
    starts = [child.lineno for child in blocks if hasattr(child, "lineno")]
    last = max(first, min(starts) - 1) if starts else getattr(node, "end_lineno", first)
    return min([first, *decorators]), last


def matched(then: Mapping[str, list[Statement]], now: Mapping[str, list[Statement]]) -> Iterator[tuple[str, str]]:
    """Yield (old path, new path) of modules that belong together; the other path of one that is new or gone is "" ."""
    yield from ((path, path) for path in sorted(then.keys() & now.keys()))
    gone, new = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    for path in new:
        likeness = {old: alike(then[old], now[path]) for old in gone}
        best = max(likeness, key=likeness.get, default="")
        if best and likeness[best] >= ALIKE:
            gone.remove(best)
            yield best, path
        else:
            yield "", path
    yield from ((path, "") for path in gone)


def alike(left: list[Statement], right: list[Statement]) -> float:
    """Return which part of two modules is the same."""
    texts = [[each.text for each in found] for found in (left, right)]
    return SequenceMatcher(None, *texts, autojunk=False).ratio()


def renames(
    pairs: list[tuple[Statement, Statement]], then: Mapping[str, list[Statement]], now: Mapping[str, list[Statement]]
) -> dict[str, str]:
    """Return old name → new name, as in tokens, of what was renamed everywhere at once.

    A module that was changed has the old name nowhere any more, and had the new one nowhere before. The others have
    neither as something that is defined, imported or reached by a dot (a variable of theirs may be called so), nor as a
    text where they look names up by texts.
    """
    found: dict[str, str] = {}
    places: dict[str, list[tuple[str, str]]] = {}
    doubtful: set[str] = set()
    for left, right in pairs:
        for old, new in name_differences(left.tokens, right.tokens) or []:
            places.setdefault(old, []).append((left.path, right.path))
            if found.setdefault(old, new) != new:
                doubtful.add(old)
    words_then = {path: Words.of(several) for path, several in then.items()}
    words_now = {path: Words.of(several) for path, several in now.items()}
    moved = {module_name(old): module_name(new) for old, new in matched(then, now) if old and new and old != new}
    return {
        old: new
        for old, new in found.items()
        if old not in doubtful
        and list(found.values()).count(new) == 1
        and (
            moved.get(old) == new
            or (
                is_free(old, words_now, {path for _, path in places[old]})
                and is_free(new, words_then, {path for path, _ in places[old]})
            )
        )
    }


@dataclass(frozen=True)
class Words:
    """The names and texts of a module, written as in tokens."""

    names: frozenset[str]
    shared: frozenset[str]
    """Names that are defined, imported, or reached by a dot."""
    texts: frozenset[str]

    @classmethod
    def of(cls, several: list[Statement]) -> "Words":
        names, shared, texts = set(), set(), set()
        for each in several:
            for place, token in enumerate(each.tokens):
                word = token.removeprefix("str:")
                if is_name(each.tokens, place):
                    names.add(word)
                    if not each.tokens[place - 1].endswith((" id=", " arg=")):
                        shared.add(word)
                elif token.startswith("str:"):
                    texts.add(word)
        return cls(frozenset(names), frozenset(shared), frozenset(texts))

    @property
    def looks_up(self) -> bool:
        """Whether something is looked up by a text."""
        return bool(self.names & LOOKING_UP)


def is_free(name: str, words: Mapping[str, Words], changed: set[str]) -> bool:
    """Tell whether no module knows a name, as `renames` says."""
    return not any(
        name in (each.names if path in changed else each.shared) or (name in each.texts and each.looks_up)
        for path, each in words.items()
    )


def name_differences(left: tuple[str, ...], right: tuple[str, ...]) -> list[tuple[str, str]] | None:
    """Return the (old, new) names in which two statements differ, None where they differ in anything else."""
    if len(left) != len(right):
        return None
    found = []
    for place, (old, new) in enumerate(zip(left, right, strict=True)):
        if old != new:
            if not (is_name(left, place) and is_name(right, place)):
                return None
            found.append((old.removeprefix("str:"), new.removeprefix("str:")))
    return found


def is_name(tokens: tuple[str, ...], place: int) -> bool:
    """Tell whether a token is a name, not a text."""
    return place > 0 and bool(_NAME.search(tokens[place - 1])) and tokens[place].startswith("str:")


def renamed_token(tokens: tuple[str, ...], place: int, renamed: Mapping[str, str]) -> str:
    """Return a token under its new name."""
    name = tokens[place].removeprefix("str:")
    return f"str:{renamed[name]}" if name in renamed and is_name(tokens, place) else tokens[place]


def module_name(path: str) -> str:
    """Return the dotted name of a module below scripts/, written as in a token."""
    return repr(".".join(PurePath(path).with_suffix("").parts[1:]))


def with_what_follows(changed: list[Statement], every: list[Statement]) -> list[Statement]:
    """Return changed statements with those that they reach, as the head of this module says, in order."""
    found = {each.place: each for each in changed if not isinstance(each.node, _UNSEEN)}
    values: dict[str, set[str]] = {}
    by_place = {(each.path, each.first): each for each in every}
    for each in changed:
        if isinstance(each.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = [child for child in each.node.body if not is_text(child)]
            inner = by_place.get((each.path, head_lines(body[0])[0])) if body else None
            if inner is not None:
                found[inner.place] = inner
        elif each.within != "function" and isinstance(each.node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = each.node.targets if isinstance(each.node, ast.Assign) else [each.node.target]
            names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
            values.setdefault(each.path, set()).update(map(repr, names))
    for path, names in values.items():
        readers = {path, *(each.path for each in every if imports(each, path))}
        for each in every:
            if each.path in readers and each.within == "function" and mentioned(each) & names:
                found[each.place] = each
    return sorted(found.values(), key=lambda each: (each.path, each.first))


def imports(statement: Statement, path: str) -> bool:
    """Tell whether a statement imports a module, or something from it."""
    if not isinstance(statement.node, (ast.Import, ast.ImportFrom)):
        return False
    name = PurePath(path).stem
    words = (token.removeprefix("str:").strip("'").split(".") for token in statement.tokens if token.startswith("str:"))
    return any(name in parts for parts in words)


def mentioned(statement: Statement) -> set[str]:
    """Return all names of a statement, written as in a token."""
    tokens = statement.tokens
    return {token.removeprefix("str:") for place, token in enumerate(tokens) if is_name(tokens, place)}


def not_executed(wanted: list[Statement], executed: Mapping[str, set[int]]) -> list[Statement]:
    """Return those of the statements of which no line was executed; `executed`: path → lines."""
    return [
        each for each in wanted if not executed.get(each.path, set()).intersection(range(each.first, each.last + 1))
    ]
