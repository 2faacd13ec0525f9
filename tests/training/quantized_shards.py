"""Print which share of a quantized base a rank holds: `torchrun quantized_shards.py FILE`, with sft_train.py's flags.

The training is real; what is printed is read from DeepSpeed's engine after its last step.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
arguments = json.loads(Path(sys.argv[1]).read_text())
sys.argv = [*arguments[0]]

import heirloom.rank  # noqa: E402, F401

# isort: split
import sft_train  # noqa: E402
from heirloom import stage  # noqa: E402
from heirloom.distributed import is_main_rank  # noqa: E402
from heirloom.training.lifecycle import Lifecycle  # noqa: E402


def train_and_tell(self, trainer):
    trainer.train()
    if is_main_rank():
        parameters = trainer.accelerator.unwrap_model(trainer.model).parameters()
        quantized = [each for each in parameters if type(each).__name__ in ("Params4bit", "Int8Params")]
        held = [(each.ds_numel, each.ds_tensor.numel(), each.data.numel()) for each in quantized]
        print(f"shards: {json.dumps(held)}", flush=True)


Lifecycle.run = train_and_tell
sft_train.main()
stage.leave_ranks()
