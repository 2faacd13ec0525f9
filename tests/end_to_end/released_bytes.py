"""The hashes of what stages of each kind make, as the last version made them, and how to measure them now.

A processor's instructions decide the last digits of floating-point numbers, so they are pinned to AVX2, and hashes of
numbers count only on processors of the maker that they were recorded on: Intel's library promises no equal results on
others. Rows and token ids are the same everywhere. To record them, at a release:

    RECORD_BYTES=1 pytest tests/end_to_end/test_provenance.py -k bytes
"""

import hashlib
import json
from pathlib import Path

from demo_clone import Demo

from heirloom.arithmetic.processor import facts_of_processor
from pipeline.graph.stages import KINDS
from pipeline.ledger.lockfile import read_lock

PINNED = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
EVERYWHERE = ("download", "tokenizer", "process")
"""Kinds of stage that compute no floating-point numbers."""
NOT_MEASURED = ("harness", "gate", "report", "pack", "reference", "scores", "rewards")
"""The harness's library is in an environment of its own, no run here has gates, and pages have times in them. No
version had packed rows, reference scores or a base's scores yet; tests/training/test_methods.py holds what is learned
from the first two, and `evaluate` has the last. No run here learns from rewards."""
RECORDED = Path(__file__).with_suffix(".json")


def processor() -> str:
    """Return the maker of this processor if it has AVX2, else another word, under which nothing is recorded."""
    maker, abilities = facts_of_processor()
    return maker if "avx2" in abilities else "no AVX2"


def measured(project: Demo) -> dict[str, str]:
    """Return kind of stage → one hash of all that its stages have made in a project."""
    lock = read_lock(project.folder / "dvc.lock")
    found: dict[str, list[str]] = {}
    for name, entry in sorted(lock.items()):
        kind = name.partition("-")[0]
        outs = [(former_path(out["path"], lock), out["md5"]) for out in entry["outs"] if kind in KINDS]
        found.setdefault(kind, []).extend(f"{path} {md5}" for path, md5 in outs)
    kinds = [kind for kind in KINDS if kind in found and kind not in NOT_MEASURED]
    return {kind: hashlib.md5("\n".join(found[kind]).encode()).hexdigest() for kind in kinds}


def former_path(path: str, lock: dict[str, dict]) -> str:
    """Return a product's path as version 0.1.0 had it: a base's answers were named by the run compared with them."""
    if not path.startswith("baselines/"):
        return path
    readers = [name for name, entry in lock.items() if path in {dep["path"] for dep in entry["deps"]}]
    return f"baselines/{min(name.removeprefix('evaluate-') for name in readers if name.startswith('evaluate-'))}"


def recorded() -> dict[str, str]:
    """Return kind of stage → the hash that counts on this processor; without one of numbers where none is recorded."""
    known = json.loads(RECORDED.read_text())
    return known["every processor"] | known["processors of"].get(processor(), {})


def record(found: dict[str, str], version: str) -> None:
    """Write what was measured here as the bytes of a version; what was recorded on other processors is out of date."""
    here = {kind: value for kind, value in found.items() if kind not in EVERYWHERE}
    known = {
        "version": version,
        "every processor": {kind: found[kind] for kind in EVERYWHERE},
        "processors of": {processor(): here},
    }
    RECORDED.write_text(json.dumps(known, indent=2) + "\n")
