"""Measure a training stage under the launcher: `launch.py torchrun measured_stage.py METHOD RESULT FLAGS…`.

It is the real scripts/sft_train.py or dpo_train.py with the FLAGS of a stage; only the weights are drawn instead of
loaded, and nothing is saved.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import heirloom.rank  # noqa: E402, F401

# isort: split
from meter import random_model, train_and_measure  # noqa: E402

import dpo_train  # noqa: E402
import sft_train  # noqa: E402
from heirloom import stage  # noqa: E402
from heirloom.training import preparation  # noqa: E402
from heirloom.training.lifecycle import Lifecycle  # noqa: E402


def main() -> None:
    _, method, result, *sys.argv[1:] = sys.argv
    length = json.loads(Path("lengths.json").read_text())[method]["mean"]
    script = {"lora": sft_train, "dpo": dpo_train}[method]
    for place in (preparation, dpo_train):
        place.load_model = lambda command: random_model(command.base, command.training.attn_implementation)
    Lifecycle.run = lambda self, trainer: train_and_measure(trainer, method, length, Path(result))
    script.main()
    stage.leave_ranks()


if __name__ == "__main__":
    main()
