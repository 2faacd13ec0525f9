"""Tell where one generated line comes from: checkpoint, runs, config, processed and raw row, commits, environment.

    python scripts/trace_generation.py generations/demo-sft test.jsonl:3             # by row_id
    python scripts/trace_generation.py generations/demo-sft test.jsonl:3 --sample 1  # another answer to the same row
    python scripts/trace_generation.py generations/demo-sft 4                        # by line of the file, from 1
    python scripts/trace_generation.py generations/demo-sft 4 --json

Reads dvc.lock, .dvc/history.jsonl, git and what of the data is on this machine; fetches nothing. What cannot be told
without data that is elsewhere is named, with the command that brings it.
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from rich.console import Console

from heirloom.errors import plain_json
from heirloom.failures import ends_in_one_sentence
from heirloom.report.terminal_text import forgive_characters
from pipeline.provenance import trace_row, trace_tree

UNWRAPPED = 10_000
"""Width for files and pipes, in characters: each fact on one line."""


def main() -> None:
    forgive_characters()
    os.chdir(Path(__file__).resolve().parents[1])
    options = parse_arguments()
    with ends_in_one_sentence():
        trace = trace_row(options.generations, options.row, options.sample)
    if options.json:
        print(plain_json(trace.as_json()))
    else:
        Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else UNWRAPPED).print(trace_tree(trace))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generations", type=Path, help="a folder that a generate stage made: generations/RUN")
    parser.add_argument("row", help="a row_id, or the number of a line from 1")
    parser.add_argument("--sample", type=int, help="which of several answers to the row, from 0; without it the first")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a tree")
    return parser.parse_args()


if __name__ == "__main__":
    main()
