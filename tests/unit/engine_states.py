"""What DeepSpeed's engine really keeps, in memory and in a checkpoint, at small sizes: a line of JSON for each stage,
accumulation and size.

torchrun --nproc-per-node 2 tests/unit/engine_states.py FOLDER
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

import deepspeed
import torch

LAYERS = 4
BUCKET = 1000


def live_bytes() -> int:
    """Return the bytes of all storages of tensors that were made since `gc.freeze`, those without content not."""
    sizes = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and thing.device.type != "meta":
            storage = thing.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def settled_bytes() -> int:
    """Return the least that lives within a second: the thread of a backward pass lets go of gradients after its end."""
    found = [live_bytes()]
    for _ in range(5):
        time.sleep(0.2)
        gc.collect()
        found.append(live_bytes())
    return min(found)


def states(stage: int, accumulation: str | None, width: int, folder: Path) -> tuple[int, int]:
    """Return the bytes that live after a step and the first backward pass of the next one, and of a checkpoint."""
    zero = {"stage": stage, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    zero |= {"stage3_prefetch_bucket_size": BUCKET, "stage3_param_persistence_threshold": 10} if stage == 3 else {}
    config = {
        "train_batch_size": 4,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "bf16": {"enabled": True},
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
    } | ({"data_types": {"grad_accum_dtype": accumulation}} if accumulation else {})
    gc.collect()
    gc.freeze()
    layers = [torch.nn.Linear(width, width, bias=False, dtype=torch.bfloat16) for _ in range(LAYERS)]
    model = torch.nn.Sequential(*layers)
    del layers
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]
    del model, optimizer
    for _ in range(3):
        engine.backward(engine(torch.randn(1, width, dtype=torch.bfloat16)).float().sum())
        engine.step()
    gc.collect()
    gradients = [weight.grad for weight in engine.module.parameters()]  # or Python would not know of these tensors
    live = settled_bytes() if len(gradients) == LAYERS else 0
    engine.save_checkpoint(str(folder))
    torch.distributed.barrier()
    return live, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled, for a minute
    deepspeed.init_distributed("gloo")
    folder = Path(sys.argv[1])
    for stage in range(4):
        for accumulation in (None, "fp32") if stage else (None,):
            for width in (64, 128, 192):
                live, saved = states(stage, accumulation, width, folder / f"{stage}-{accumulation}-{width}")
                row = {"stage": stage, "fp32": accumulation is not None, "weights": LAYERS * width**2}
                row |= {"bytes": live, "saved": saved}
                if os.environ["RANK"] == "0":
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
    torch.distributed.destroy_process_group()
