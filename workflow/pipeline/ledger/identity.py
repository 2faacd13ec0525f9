"""A stage's identity: one hash over its command, code, config sections and inputs.

It is the key of DVC's own run cache (dvc/stage/cache.py `_get_stage_hash`), so both name the same thing: two
executions with equal identity are the same execution. Hardware, paths outside the stage, time and tracking are
not part of it.
"""

import hashlib
import json

from pipeline.ledger.entries import Entry


def identity_of(entry: Entry) -> str:
    """Return the identity of what an entry records, 64 hex digits.

    Sizes and file counts are left out and only the paths of the outs count, as in DVC.
    """
    known = {
        "cmd": entry["cmd"],
        "deps": entry.get("deps"),
        "params": entry.get("params"),
        "outs": [out["path"] for out in entry.get("outs", [])],
    }
    known = without_sizes({key: value for key, value in known.items() if value is not None})
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def without_sizes(value):
    """Return a value without the keys that DVC leaves out of its hashes, at any depth."""
    if isinstance(value, dict):
        return {key: without_sizes(item) for key, item in value.items() if key not in ("size", "nfiles")}
    return [without_sizes(item) for item in value] if isinstance(value, list) else value
