"""Load a user's own `module:function` that a config names; its file then counts as code of the stage."""

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heirloom.code_closure import PROJECT, SCRIPTS
from heirloom.errors import HeirloomError
from heirloom.stage import declare_user_code


def load_user_function(name: str, key: str) -> Callable:
    """Import `module:function` from scripts/ or the project's root.

    Raises HeirloomError that blames the config's `key` when there is no such file or function, or the import fails.
    """
    module_name, function_name = name.split(":", 1)
    parts = module_name.split(".")
    for root in (SCRIPTS, PROJECT, Path.cwd()):
        file = root.joinpath(*parts).with_suffix(".py")
        if file.is_file():
            declare_user_code(file)
            sys.path += [] if str(root) in sys.path else [str(root)]
            break
    else:
        raise HeirloomError(f"{key} {name}: there is no file {'/'.join(parts)}.py in scripts/ or the project's root")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise HeirloomError(f"{key} {name}: {file} cannot be imported: {told(error, file)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise HeirloomError(f"{key} {name}: {file} defines no function {function_name}")
    return function


def called(function: Callable, place: str, *arguments: Any) -> Any:
    """Return what a user's function gives. Raises HeirloomError, which begins with `place`, for whatever it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        file = sys.modules[function.__module__].__file__ if function.__module__ in sys.modules else None
        raise HeirloomError(f"{place}: failed: {told(error, file)}") from error


def told(error: Exception, file: Path | str | None) -> str:
    """Return an error's kind and text, with the last line of the user's file that led to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    place = f" ({Path(str(file)).name}, line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{place}"
