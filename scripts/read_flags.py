"""Say what a run's file becomes with flags put over its keys, or what is wrong with them.

    python scripts/read_flags.py --config config/demo/runs/demo-dpo.yaml --read training,peft \\
        --trainer dpo -- --beta=0.2

In:  the run's file; the sections that the flags may go to; the script's trainer, if it is not the file's own.
Out: the file's value with the flags in it, as JSON on one line. The training scripts and inference.py call it when they
     are given flags by hand; no stage does.
"""

import argparse
import json
import sys

from heirloom.config.flags import with_flags
from heirloom.errors import HeirloomError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the run's file")
    parser.add_argument("--read", required=True, type=lambda names: names.split(","), help="sections, a,b")
    parser.add_argument("--trainer", help="the script's trainer; absent: the file's")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="-- and the flags")
    options = parser.parse_args()
    print(json.dumps(with_flags(options.config, options.flags[1:], options.read, options.trainer)))


if __name__ == "__main__":
    try:
        main()
    except HeirloomError as error:
        sys.exit(str(error))
