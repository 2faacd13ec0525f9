"""Check the files that config/ names: DeepSpeed's settings and the user's own processing functions."""

import ast
import json
from pathlib import Path

from heirloom.config.parsing.mistakes import did_you_mean

BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")


def deepspeed_problem(root: Path, name: str) -> str | None:
    """Return what is wrong with a DeepSpeed file, with the remedy; None when nothing is."""
    folder = root / "config" / "deepspeed"
    file = f"config/deepspeed/{name}.json"
    try:
        settings = json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError:
        known = [path.stem for path in folder.glob("*.json")]
        return f"there is no {file}; {did_you_mean(name, known)}"
    except ValueError as error:
        return f"{file} is not valid JSON: {error}"
    if not isinstance(settings, dict):
        return f"{file} must hold an object, {{…}}"
    fixed = [key for key in BATCH_KEYS if settings.get(key, "auto") != "auto"]
    fixed += [f"{key}.enabled" for key in ("bf16", "fp16") if settings.get(key, {}).get("enabled", "auto") != "auto"]
    if fixed:
        return f'{file} fixes {" and ".join(fixed)}, set by `training:`; write "auto" there'
    return None


def user_function_problem(root: Path, module: str, function: str) -> str | None:
    """Return what is wrong with a user's `module:function`; its file is parsed, never executed."""
    places = [folder / f"{module.replace('.', '/')}.py" for folder in (root / "scripts", root)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        wanted = " or ".join(str(place.relative_to(root)) for place in places)
        return f"there is no {wanted} for the module {module}; write it or mend the name"
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        return f"{file.relative_to(root)}:{error.lineno}: is not valid Python: {error.msg}"
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    defined |= {
        (alias.asname or alias.name) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    if function not in defined:
        return f"{file.relative_to(root)} has no function {function}; {did_you_mean(function, defined)}"
    return None
