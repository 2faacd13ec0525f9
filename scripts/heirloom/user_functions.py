"""Load a user's own `module:function` that a config names; its file then counts as code of the stage."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from heirloom.code_closure import PROJECT, SCRIPTS
from heirloom.errors import HeirloomError
from heirloom.stage import declare_user_code


def load_user_function(name: str, key: str) -> Callable:
    """Import `module:function` from scripts/ or the project's root.

    Raises HeirloomError that blames the config's `key` when there is no such file or function.
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
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise HeirloomError(f"{key} {name}: {file} defines no function {function_name}")
    return function
