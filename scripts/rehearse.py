"""Rehearse a run before it is paid for: every stage to its report, on this machine, in about a minute.

    python scripts/rehearse.py llama3-dpo
    python scripts/rehearse.py llama3-sft llama3-dpo         # what they share is made once

What is the run's own: its config, tokenizer, chat template, first 16 rows, processing functions and metrics, engine,
trainer, adapter, quantization, DeepSpeed file. What is not: the weights, which are random ones of the same architecture
with two layers, and the length, two steps. Of a repository of the hub only config.json, tokenizer and rows are fetched.

It happens in .heirloom/rehearsals/RUN, a copy of this folder with uncommitted edits, on CPU ranks; nothing is recorded
but that the run passed as it is (.heirloom/rehearsed.json), which `snakemake --profile sagemaker` asks for.
The folder stays, so that the next rehearsal does again only what an edit concerns; delete it as you like.
Exit status: 0 when every stage ends well, 1 when one does not, with a sentence that names it.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from heirloom.errors import plain
from heirloom.failures import ends_in_one_sentence
from heirloom.report.terminal_text import forgive_characters
from pipeline.rehearsal import NEVER, note_rehearsed, place_of, prepare, rehearse


def main() -> None:
    forgive_characters()
    os.chdir(Path(__file__).resolve().parents[1])
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))
    runs = sorted(set(options.runs))
    folder = options.folder or place_of(runs)
    begun = time.monotonic()
    with ends_in_one_sentence(f"rehearsing {', '.join(runs)}"):
        prepared = prepare(runs, folder, tell)
        if not options.prepare:
            rehearse(prepared, tell)
            note_rehearsed(prepared.keys)
    if options.prepare:
        tell(f"{folder} is ready; its commands, in order:")
        tell("\n".join(prepared.graph.stages[name].cmd for name in prepared.stages))
        return
    tell("not rehearsed, as it cannot be here:")
    tell("\n".join(f"  {plain(sentence)}" for sentence in (*NEVER, *prepared.left_out)))
    tell(f"{', '.join(runs)}: all {len(prepared.stages)} stages end well ({time.monotonic() - begun:.0f} s)")


def tell(line: str) -> None:
    """Print at once: stages take a while."""
    print(line, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="of a file in config/runs/, without .yaml, enabled or not"
    )
    parser.add_argument("--folder", type=Path, help="where; absent: .heirloom/rehearsals/RUN")
    parser.add_argument("--prepare", action="store_true", help="make the folder and show its commands; execute none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
