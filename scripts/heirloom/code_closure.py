"""Which project files a script's behaviour depends on: the script and every project module it imports.

DVC watches exactly these files for a stage, so an edit re-executes the stages that import the edited module
and no other. The analysis reads the source and executes nothing; `stage.run` compares it with what was really
loaded when a script ends.
"""

import ast
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from heirloom.errors import HeirloomError

SCRIPTS = Path(__file__).resolve().parent.parent
PROJECT = SCRIPTS.parent
INSTALLED = {"site-packages", "dist-packages"}
"""Names of the folders that hold libraries, in an environment of whatever kind."""


def imported_names(file: Path) -> tuple[str, ...]:
    """Return the dotted names that a source file imports; `from a import b` gives both `a` and `a.b`.

    Raises HeirloomError for a file that is no Python, as one may be that a user's own function imports.
    """
    text = file.read_bytes()
    try:
        tree = ast.parse(text, filename=str(file))
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        place = f"{file}:{getattr(error, 'lineno', None) or 1}"
        raise HeirloomError(f"{place}: is not valid Python: {getattr(error, 'msg', error)}; mend it") from None
    # an import is a statement; expressions, which are nine tenths of a tree, are looked through only for calls
    nodes = ast.walk(tree) if b"import_module" in text else statements(tree)
    return tuple(dict.fromkeys(names_in(nodes, file)))


def code_closure(script: Path, names_of: Callable[[Path], tuple[str, ...]] = imported_names) -> list[Path]:
    """Return `script` and the project modules that it imports, directly or not, sorted.

    Imports count wherever they stand (also inside functions) and also as a literal
    `importlib.import_module("…")`. A package's `__init__.py` counts only when it holds code.
    `names_of` may remember what `imported_names` finds in a file. Raises FileNotFoundError when the script does not
    exist.
    """
    found: set[Path] = set()
    pending = [script.resolve()]
    while pending:
        file = pending.pop()
        if file not in found:
            found.add(file)
            pending += direct_imports(file, names_of)
    return sorted(found)


@functools.cache
def direct_imports(file: Path, names_of: Callable[[Path], tuple[str, ...]] = imported_names) -> tuple[Path, ...]:
    """Return the project files that `file` itself imports, with the `__init__.py` files on the way."""
    roots = (file.parent, SCRIPTS) if SCRIPTS not in file.parents else (SCRIPTS,)
    return tuple(dict.fromkeys(path for name in names_of(file) for path in module_files(name, roots)))


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes of a syntax tree that are, or hold, statements, wherever they stand."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for part in ("body", "orelse", "handlers", "finalbody", "cases"):
            pending += getattr(node, part, ())


def names_in(nodes: Iterable[ast.AST], file: Path) -> Iterator[str]:
    """Yield the dotted names that nodes of a file's syntax tree import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package_above(file, node.level) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module" and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value


def package_above(file: Path, level: int) -> str:
    """Return the dotted package that `level` leading dots mean in `file`."""
    folder = file.parents[level - 1]
    return ".".join(folder.relative_to(SCRIPTS).parts) if SCRIPTS in (folder, *folder.parents) else ""


def module_files(name: str, roots: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the project files that importing the dotted `name` executes; none when it is not ours."""
    for root in roots:
        parts = name.split(".")
        target = os.path.join(root, *parts)  # text: most of what is imported is not ours, and pathlib would take longer
        if not (os.path.isfile(f"{target}.py") or os.path.isfile(f"{target}/__init__.py")):
            continue
        file, package = Path(f"{target}.py"), Path(target, "__init__.py")
        packages = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
        for init in (*packages, package):
            if init.is_file() and init.stat().st_size:
                yield init.resolve()
        if file.is_file():
            yield file.resolve()
        return


def loaded_project_files() -> set[Path]:
    """Return the project's source files that this process has imported so far.

    Python's own and those of libraries are none, in whichever environment inside the project's folder they lie.
    """
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {real_path(file) for file in files if file and file.endswith(".py")}
    python = tuple(os.path.join(os.path.realpath(prefix), "") for prefix in (sys.prefix, sys.base_prefix))
    project = os.path.join(PROJECT, "")
    own = {Path(path) for path in paths if path.startswith(project) and not path.startswith(python)}
    return {
        path
        for path in own
        if path.is_file()  # torch makes modules whose `__file__` is only a name
        and not INSTALLED.intersection(path.relative_to(PROJECT).parts)
        and not (path.name == "__init__.py" and not path.stat().st_size)
    }


def real_path(file: str) -> str:
    """Return os.path.realpath of a file; a process may have loaded five thousand, which lie in few folders."""
    folder, name = os.path.split(file)
    path = os.path.join(real_folder(folder), name)
    return os.path.realpath(file) if os.path.islink(path) or not os.path.isabs(file) else path


@functools.cache
def real_folder(folder: str) -> str:
    """Return os.path.realpath of a folder."""
    return os.path.realpath(folder)
