"""Accumulate gradients of very different size by the shipped DeepSpeed files: `torchrun accumulated_gradients.py JOBS`.

JOBS is a JSON list of DeepSpeed files. For each, a line `NAME: WEIGHT`: a weight of bfloat16 that began at 0, after one
step of plain gradient descent at rate 1 over 16 passes, whose gradients are 256, fourteen times 1, and 0.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import torch

from heirloom.distributed import say, start_deepspeed, start_rank

GRADIENTS = [256.0, *[1.0] * 14, 0.0]


def weight_after_a_step(file: Path) -> float:
    import deepspeed

    settings = {key: value for key, value in json.loads(file.read_text()).items() if value != "auto"}
    settings |= {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": len(GRADIENTS)}
    settings |= {"bf16": {"enabled": True}, "fp16": {"enabled": False}, "gradient_clipping": 1e9}
    model = torch.nn.Linear(8, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), config=settings
    )
    for gradient in GRADIENTS:
        engine.backward(engine(torch.full((1, 8), gradient, dtype=torch.bfloat16)).sum())
        engine.step()
    with deepspeed.zero.GatheredParameters(engine.module.weight):
        return engine.module.weight.flatten()[0].item()


if __name__ == "__main__":
    start_rank()
    torch.distributed.init_process_group("gloo")
    start_deepspeed()
    for name in json.loads(Path(sys.argv[1]).read_text()):
        say(f"{Path(name).stem}: {weight_after_a_step(Path(name))}")
    torch.distributed.destroy_process_group()
