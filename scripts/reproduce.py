"""Make a stage again in a clean clone of a commit, and verify every artifact against the hashes recorded there.

    python scripts/reproduce.py generate-demo-sft                # of HEAD
    python scripts/reproduce.py v1.0 train-demo-sft              # of any git revision
    python scripts/reproduce.py HEAD~3 process-demo-chat --keep

The clone is made below $TMPDIR and deleted at the end. This clone, its cache and its dvc.lock stay as they are.
Exit status: 0 when all hashes agree, 1 when one does not or on an error.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from heirloom.errors import plain
from heirloom.failures import ends_in_one_sentence
from heirloom.report.terminal_text import forgive_characters
from pipeline.provenance import Reproduction, commit_of, reproduce, uncommitted_changes

MOST_CHANGES = 5


def main() -> int:
    forgive_characters()
    os.chdir(Path(__file__).resolve().parents[1])
    options = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # so that the stage ends, and the clone is deleted
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    folder = Path(tempfile.mkdtemp(prefix="heirloom-reproduce-"))
    clone = folder / "clone"
    try:
        with ends_in_one_sentence():
            commit = commit_of(options.commit)
            tell(f"{options.stage} of commit {commit[:12]} ({options.commit})")
            if changes := uncommitted_changes():
                more = f" and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
                tell(f"uncommitted changes take no part: {', '.join(changes[:MOST_CHANGES])}{more}")
            return report(reproduce(commit, options.stage, clone, tell))
    finally:
        if options.keep and clone.exists():
            tell(f"kept: {clone}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def report(found: Reproduction) -> int:
    """Print each product with its verdict, and why any may differ; return the exit status."""
    for product in found.products:
        if product.same:
            print(f"same     {product.path}  {product.recorded}")
        else:
            print(f"differs  {product.path}  recorded {product.recorded}, made {product.made or 'nothing'}")
            print(*(f"         {plain(line)}" for line in product.files), sep="\n", end="\n" if product.files else "")
    for reason in found.reasons:
        print(f"why it may: {reason}")
    return 0 if all(product.same for product in found.products) else 1


def tell(sentence: str) -> None:
    """Print at once, as the stage writes to the same terminal."""
    print(sentence, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="HEAD", help="any git revision; absent: HEAD")
    parser.add_argument("stage", help="a stage that dvc.lock of that commit records, such as train-demo-sft")
    parser.add_argument("--keep", action="store_true", help="keep the clone, to look at what differs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
