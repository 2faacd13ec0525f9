"""Whether something read from a file has the form of an entry of dvc.lock."""

from typing import Any

from pipeline.folder_objects import is_hash


def is_entry(value: Any) -> bool:
    """Tell whether a value has the form of an entry of dvc.lock with its products."""
    if not isinstance(value, dict) or not isinstance(value.get("cmd"), str):
        return False
    lists = [value.get(key, []) for key in ("deps", "outs")]
    rows = [row for rows in lists for row in rows] if all(isinstance(rows, list) for rows in lists) else [None]
    right = all(isinstance(row, dict) and isinstance(row.get("path"), str) for row in rows)
    hashed = right and all(is_hash(out.get("md5")) for out in lists[1])
    params = value.get("params", {})
    return hashed and isinstance(params, dict) and all(isinstance(values, dict) for values in params.values())
