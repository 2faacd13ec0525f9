"""Train several times in one process group, for tests: `torchrun many_trainings.py TRAININGS.json`.

The imports and the start of a group of ranks take longer than the training of a tiny model. What a user runs, one
script by launch.py, is what the other tests run. Each training is {"arguments": [script, …]} and may have
"stop_at": N, to fail after step N as a broken machine would, and "work": a folder for checkpoints that is kept.
"""

import gc
import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
TRAININGS = json.loads(Path(sys.argv[1]).read_text())
sys.argv += ["peft", "quantization"]  # so that heirloom.rank leaves no library out

import heirloom.rank  # noqa: E402, F401

# isort: split
from accelerate.state import AcceleratorState, GradientState  # noqa: E402
from transformers import TrainerCallback  # noqa: E402
from transformers.integrations.deepspeed import unset_hf_deepspeed_config  # noqa: E402

from heirloom.errors import HeirloomError  # noqa: E402
from heirloom.stage import leave_ranks  # noqa: E402
from heirloom.training.lifecycle import Lifecycle  # noqa: E402


class BrokenMachineError(Exception):
    """What a training ends with that is told to stop."""


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise BrokenMachineError


def train(arguments, stop_at=None, work=None):
    """Run the script `arguments[0]` with the others as its command line."""
    ours = Lifecycle.callbacks
    if stop_at:
        Lifecycle.callbacks = property(lambda self: [*ours.fget(self), StopAt(stop_at)])
    os.environ.pop("HEIRLOOM_WORK_DIR", None)
    if work:
        os.environ["HEIRLOOM_WORK_DIR"] = work
    sys.argv = list(arguments)
    try:
        importlib.import_module(Path(arguments[0]).stem).main()
    except HeirloomError as error:
        print(f"{arguments[2]}: refused: {error}", flush=True)
    except BrokenMachineError:
        print(f"{arguments[2]}: stopped", flush=True)
    finally:
        Lifecycle.callbacks = ours
        AcceleratorState._reset_state()
        GradientState._reset_state()
        unset_hf_deepspeed_config()
        for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
            del os.environ[name]  # or the next training would run under DeepSpeed too, whether it asks for it or not
        gc.collect()


if __name__ == "__main__":
    for training in TRAININGS:
        train(**training)
    leave_ranks()
