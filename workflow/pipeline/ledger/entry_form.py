"""Whether something read from a file has the form of an entry of dvc.lock."""

import json
from typing import Any

from heirloom.data.raw.text_files import is_deep
from pipeline.folder_objects import is_hash

SIZES = ("size", "nfiles")


def parsed(text: str | bytes) -> Any:
    """Return what JSON from elsewhere says; None for what is no JSON, is too deep, or has half a character in it."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # dvc.lock could not be written with half a character
    except (ValueError, RecursionError):
        return None
    return None if is_deep(value) else value


def are_outs(value: Any) -> bool:
    """Tell whether a value has the form of the products that an entry of dvc.lock records."""
    if not isinstance(value, list) or not all(
        isinstance(out, dict) and isinstance(out.get("path"), str) for out in value
    ):
        return False
    return all(is_hash(out.get("md5")) and all(type(out.get(key, 0)) is int for key in SIZES) for out in value)


def is_entry(value: Any, with_products: bool = True) -> bool:
    """Tell whether a value has the form of an entry of dvc.lock; one that has no products may stand there, too."""
    if not isinstance(value, dict) or not isinstance(value.get("cmd"), str):
        return False
    deps, params = value.get("deps", []), value.get("params", {})
    named = isinstance(deps, list) and all(isinstance(dep, dict) and isinstance(dep.get("path"), str) for dep in deps)
    sections = isinstance(params, dict) and all(isinstance(values, dict) for values in params.values())
    return named and sections and are_outs(value.get("outs", None if with_products else []))
