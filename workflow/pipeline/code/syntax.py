"""A digest of a module's syntax: equal when two texts mean the same program to Python.

Comments, blank lines, quotes, parentheses, line breaks and docstrings are not part of it. What is hashed is the syntax
tree (https://docs.python.org/3/library/ast.html) in a writing of our own, since that of `ast.dump` differs between
versions of Python. A docstring is no code here: no stage reads `__doc__` but for the help of its command line
(tests/house/test_docstrings.py).
"""

import ast
import hashlib
from collections.abc import Iterator

LEFT_OUT = ("ctx", "type_comment", "kind", "type_ignores")
"""Fields that repeat what the place of a node says, or that Python does not execute."""
_NOTHING = ast.parse("pass").body


def syntax_digest(source: bytes) -> str:
    """Return 32 hex digits for a module's text. Raises SyntaxError, ValueError for what is no Python."""
    return hashlib.md5("".join(written(ast.parse(source))).encode()).hexdigest()


def written(value: object) -> Iterator[str]:
    """Yield a syntax tree as text, the same in every version of Python that has these nodes."""
    if isinstance(value, ast.AST):
        yield f"({type(value).__name__}"
        for name in sorted(value._fields):
            field = getattr(value, name, None)
            if name in LEFT_OUT or field is None or field == []:
                continue
            yield f" {name}="
            yield from written(without_texts(value, name, field))
        yield ")"
    elif isinstance(value, list):
        yield "["
        for item in value:
            yield from written(item)
            yield ","
        yield "]"
    else:
        yield f"{type(value).__name__}:{ascii(value)}"


def without_texts(node: ast.AST, name: str, field: object) -> object:
    """Return a field of a node: a block without statements that are only a text, an f-string in its shortest form."""
    if isinstance(field, list) and field and all(isinstance(item, ast.stmt) for item in field):
        return [item for item in field if not is_text(item)] or _NOTHING
    if isinstance(node, ast.JoinedStr) and name == "values":
        return joined(field)
    return field


def is_text(statement: ast.stmt) -> bool:
    """Tell whether a statement is a text alone, as docstrings are: Python evaluates it to nothing."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def joined(parts: list[ast.expr]) -> list[ast.expr]:
    """Return the parts of an f-string with neighbouring texts in one, none of them empty."""
    found: list[ast.expr] = []
    for part in parts:
        if isinstance(part, ast.Constant) and found and isinstance(found[-1], ast.Constant):
            found[-1] = ast.Constant(f"{found[-1].value}{part.value}")
        elif not (isinstance(part, ast.Constant) and part.value == ""):
            found.append(part)
    return found
