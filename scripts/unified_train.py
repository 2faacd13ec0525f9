"""Train with the trainer that the run's file names, by hand: one program for all methods.

    torchrun --nproc-per-node 2 scripts/unified_train.py --config config/runs/demo-dpo.yaml --learning_rate 2e-5

Everything but `trainer:` is as for the script of that trainer, which takes this process over; its `--help` lists
the flags. The workflow names that script itself, so that an edit of one makes no run of the others stale.
"""

import os
import sys
from pathlib import Path

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.reading import read_yaml
from heirloom.config.trainers.table import TRAINERS
from heirloom.errors import HeirloomError

REPOSITORY = Path(__file__).resolve().parent.parent


def chosen_script(arguments: list[str]) -> str:
    """Return the script of the run's trainer. Raises HeirloomError when the file names none that there is."""
    config = next((after for flag, after in zip(arguments, arguments[1:], strict=False) if flag == "--config"), None)
    if config is None:
        raise HeirloomError("unified_train.py needs --config and a run's file, e.g. config/runs/demo-sft.yaml")
    trainer = (read_yaml(config) or {}).get("trainer")
    if trainer not in TRAINERS:
        found = f"{trainer} is no trainer; {did_you_mean(str(trainer), TRAINERS)}" if trainer else "is missing"
        raise HeirloomError(f"{config}: trainer: {found}; give one of {', '.join(TRAINERS)}")
    return TRAINERS[trainer].script


if __name__ == "__main__":
    try:
        script = chosen_script(sys.argv[1:])
    except HeirloomError as error:
        sys.exit(f"error: {error}")
    # a new program, not an import: the script must not have loaded the table, which is no part of its stage's code
    os.execv(sys.executable, [sys.executable, "-u", str(REPOSITORY / script), *sys.argv[1:]])
