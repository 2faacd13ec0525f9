"""A stage of the user's own as the trial of new code: executed on its real inputs, and compared with its record."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from heirloom.errors import HeirloomError
from pipeline.code import Same
from pipeline.ledger import Ledger
from pipeline.provenance import Product, commit_of, uncommitted_changes, with_new_code
from pipeline.upkeep.accept import Candidate

WRITTEN_HERE = ("dvc.lock", ".dvc/history.jsonl")
"""What an upgrade itself leaves to be committed."""


def own_stages(ledger: Ledger, candidates: dict[str, Candidate], names: Sequence[str]) -> list[str]:
    """Return the stages that are named, in run order. Raises HeirloomError for one whose code alone is no other.

    Also where something is not committed: a clone is made of the commit that is checked out.
    """
    named = {ledger.graph.stage(name).name for name in names}
    if idle := sorted(named - candidates.keys()):
        raise HeirloomError(
            f"{', '.join(idle)}: not stale by its code alone, so there is nothing to try; `make plan` says what it is"
        )
    changes = [path for path in uncommitted_changes() if path not in WRITTEN_HERE] if named else []
    if changes:
        raise HeirloomError(f"{', '.join(changes)}: not committed, and a stage of your own is tried in a clean clone")
    return [name for name in ledger.names if name in named]


def try_own(ledger: Ledger, candidates: dict[str, Candidate], names: Sequence[str]) -> list[Same]:
    """Execute each of the stages with the code of HEAD, tell what came out, and return what is proven."""
    proven = []
    for name in names:
        candidate, commit = candidates[name], commit_of("HEAD")
        print(f"executing {name} as it is, with the code of {commit[:12]}", flush=True)
        made = ledger.history.made_with(name, candidate.before)
        folder = Path(tempfile.mkdtemp(prefix="heirloom-upgrade-"))
        started = time.monotonic()
        try:
            products = with_new_code(commit, name, candidate.before, candidate.after, folder / "clone", print)
        except HeirloomError as error:
            print(f"unproven: {name}: {error}")
            continue
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{told(name, products)}, executed as it is in {time.monotonic() - started:.0f} s")
        if all(product.same for product in products):
            proof = {
                "executed": name,
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commits": [str(made.get("commit") or "unknown"), commit],
                "outs": {product.path: product.made for product in products},
            }
            proven.append(Same(candidate.inputs, stages=frozenset([name]), proof=proof))
    return proven


def told(name: str, products: Sequence[Product]) -> str:
    """Return what came out for a stage, in one line."""
    differing = [f"{product.path} ({'; '.join(product.files)})" if product.files else product.path
                 for product in products if not product.same]  # fmt: skip
    return f"other bytes: {name}: {', '.join(differing)}" if differing else f"same bytes: {name}"
