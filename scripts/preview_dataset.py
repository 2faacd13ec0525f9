"""Look at a dataset of config/datasets/ before a run uses it: process it, show three rows with their mask.

    python scripts/preview_dataset.py chats
    python scripts/preview_dataset.py chats --rows 200      # the first rows of each file only

In:  config/datasets/NAME.yaml, whether a run uses it or none. Raw rows and tokenizer are those of the workflow where it
     has made them; else its own programs make them, in a folder that goes away.
Out: .heirloom/previews/NAME, what the stage process-NAME would make, with preview.html to look at; on the terminal what
     became of the rows, and the first ones: what is trained on stands between « and ».
"""

import argparse
import tempfile
from pathlib import Path

from heirloom import stage
from heirloom.data.data_statistics import summary
from heirloom.data.first_look.shown_rows import print_rows
from heirloom.data.first_look.trial import find_dataset, process
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_trust


def main() -> None:
    args = parse_arguments()
    trust(args.trust_remote_code)
    project, dataset = find_dataset(Path(), args.name)
    output = Path(".heirloom/previews") / dataset.name
    with tempfile.TemporaryDirectory() as folder:
        metrics, tokenizer = process(dataset, project, output, Path(folder), args.rows)
        print("\n".join(f"{output}/{line}" for line in summary(metrics)))
        print_rows(output, tokenizer)
    print(f"\n{output}/preview.html shows more, in colour")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="of a file in config/datasets/, without .yaml")
    parser.add_argument("--rows", type=int, help="only so many rows of each file; then none is held out or too bad")
    add_trust(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
