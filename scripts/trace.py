"""Tell where one generated line comes from: checkpoint, runs, config, processed and raw row, commits, environment.

    python scripts/trace.py generations/demo-sft test.jsonl:3      # by row_id
    python scripts/trace.py generations/demo-sft 4                 # by line, from 1
    python scripts/trace.py generations/demo-sft 4 --json

Reads dvc.lock, .dvc/history.jsonl, git and what of the data is on this machine; writes nothing and fetches nothing.
Data that is missing is named, with the command that brings it.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from rich.console import Console

from heirloom.errors import HeirloomError
from pipeline.chain import trace_row
from pipeline.chain_tree import chain_tree


def main() -> int:
    options = parse_arguments()
    try:
        chain = trace_row(options.generations, options.row, options.sample)
    except HeirloomError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(chain.as_json(), indent=2, ensure_ascii=False, default=str))
    else:
        Console(highlight=False, soft_wrap=True).print(chain_tree(chain))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generations", type=Path, help="a folder that a generate stage made: generations/RUN")
    parser.add_argument("row", help="a row_id, or the number of a line from 1")
    parser.add_argument("--sample", type=int, default=0, help="which of several answers to the row, from 0")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a tree")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
