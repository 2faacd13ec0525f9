"""Train with the trainer that the run's file names, by hand: one program for all methods.

    torchrun --nproc-per-node 2 scripts/unified_train.py --config config/demo/runs/demo-dpo.yaml --learning_rate 2e-5

Everything but `trainer:` is as for the script of that trainer, which takes this process over; with --config, `--help`
lists its flags. The workflow names that script itself, so that an edit of one makes no run of the others stale.
"""

import argparse
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
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", nargs="?")
    config = parser.parse_known_args(arguments)[0].config
    if config is None:
        raise HeirloomError("unified_train.py needs --config and a run's file, e.g. config/demo/runs/demo-sft.yaml")
    run = read_yaml(config)
    trainer = run.get("trainer") if isinstance(run, dict) else None
    if trainer not in TRAINERS:
        found = f"{trainer} is no trainer; {did_you_mean(str(trainer), TRAINERS)}" if trainer else "is missing"
        raise HeirloomError(f"{config}: trainer: {found}; give one of {', '.join(TRAINERS)}")
    return TRAINERS[trainer].script


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv[1:]} and not any(word.startswith("--config") for word in sys.argv):
        print(f"{__doc__}\nscripts: {', '.join(trainer.script for trainer in TRAINERS.values())}")
        sys.exit(0)
    try:
        script = chosen_script(sys.argv[1:])
    except HeirloomError as error:
        sys.exit(f"error: {error}")
    # a new program, not an import: the script must not have loaded the table, which is no part of its stage's code
    os.execv(sys.executable, [sys.executable, "-u", str(REPOSITORY / script), *sys.argv[1:]])
