"""torchrun for the ranks of several machines, as a program: `python -m torch.distributed.run` with less work to begin.

To look through what imports make, again and again and once more at the end, took a third of its CPU time.
"""

import gc
import sys
from pathlib import Path


def run(arguments: list[str]) -> None:
    """Run torchrun with the arguments of its command line."""
    gc.disable()
    from torch.distributed.run import main

    gc.freeze()
    gc.enable()
    main(arguments)


if __name__ == "__main__":
    # as `python -m` would: the modules beside this one are not to be found by their short names
    sys.path[0] = str(Path(__file__).resolve().parents[3])
    run(sys.argv[1:])
