"""Check the files that config/ names: DeepSpeed's settings, chat templates, the user's own processing functions."""

import ast
import json
from pathlib import Path
from typing import Any

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.reading import read_bytes
from heirloom.errors import HeirloomError

BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")


def deepspeed_problem(root: Path, name: str) -> str | None:
    """Return what is wrong with a DeepSpeed file, with the remedy; None when nothing is."""
    folder = root / "config" / "deepspeed"
    file = f"config/deepspeed/{name}.json"
    try:
        settings = json.loads(read_bytes(folder / f"{name}.json").decode())
    except FileNotFoundError:
        known = [path.stem for path in folder.glob("*.json")]
        return f"there is no {file}; {did_you_mean(name, known)}"
    except OSError as error:
        return f"{file} cannot be read ({error.strerror}); mend or remove it"
    except (ValueError, RecursionError) as error:
        return f"{file} is not valid JSON: {error}"
    if not isinstance(settings, dict):
        return f"{file} must hold an object, {{…}}"
    for section in ("bf16", "fp16", "zero_optimization", "optimizer", "scheduler"):
        if not isinstance(settings.get(section, {}), dict):
            return f"{file}: {section} must be an object, {{…}}, found {json.dumps(settings[section])[:40]}"
    fixed = [key for key in BATCH_KEYS if settings.get(key, "auto") != "auto"]
    fixed += [f"{key}.enabled" for key in ("bf16", "fp16") if settings.get(key, {}).get("enabled", "auto") != "auto"]
    if fixed:
        return f'{file} fixes {" and ".join(fixed)}, set by `training:`; write "auto" there'
    problem = stage_problem(settings)
    return f"{file}: {problem}" if problem else None


def stage_problem(settings: dict[str, Any]) -> str | None:
    """Return what is wrong with the stage of ZeRO, which DeepSpeed would only tell once the ranks run."""
    if "zero_optimization" not in settings:
        return "has no zero_optimization; say which stage of ZeRO, 0 to 3"
    stage = settings["zero_optimization"].get("stage", 0)
    if stage not in (0, 1, 2, 3) or isinstance(stage, bool):
        return f"zero_optimization.stage is {json.dumps(stage)}; ZeRO has stages 0 to 3"
    return None


def chat_template_problem(root: Path, path: str) -> str | None:
    """Return what is wrong with the file of a chat template; None when nothing is."""
    from heirloom.config.parsing.template_syntax import read_template  # Jinja takes as long to load as all of config/

    try:
        read_template(Path(path), root)
    except HeirloomError as error:
        return str(error)
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


def pointer_of(path: Path) -> Path | None:
    """Return the file NAME.dvc with which DVC carries a path, or a folder that holds it; None where there is none."""
    tops = (top for top in (path, *path.parents) if top.name)
    return next((pointer for top in tops if (pointer := top.with_name(f"{top.name}.dvc")).is_file()), None)


def how_to_share(path: str) -> str:
    """Return how a file of the user's that no stage makes gets to a colleague's clone."""
    return f"`git add {path}`, or of a large one `dvc add {path}`, `git add {path.rstrip('/')}.dvc` and `dvc push`"
