"""Whether something read from a file has the form of an entry of dvc.lock."""

from typing import Any

from pipeline.folder_objects import is_hash


def is_entry(value: Any) -> bool:
    """Tell whether a value has the form of an entry of dvc.lock with its products."""
    if not isinstance(value, dict) or not isinstance(value.get("cmd"), str):
        return False
    deps, outs = value.get("deps", []), value.get("outs", [])
    if not (isinstance(deps, list) and isinstance(outs, list)):
        return False
    right = all(isinstance(row, dict) and isinstance(row.get("path"), str) for row in (*deps, *outs))
    hashed = right and all(is_hash(out.get("md5")) for out in outs)
    params = value.get("params", {})
    return hashed and isinstance(params, dict) and all(isinstance(values, dict) for values in params.values())
