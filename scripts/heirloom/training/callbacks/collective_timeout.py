"""Let ranks wait for each other as long as `resources.ddp_timeout` says.

transformers hands the value on for one group of ranks and on GPUs only; DeepSpeed makes groups of its own, which wait
for torch's 10 (NCCL) or 30 (gloo) minutes.
"""

from typing import Any

from torch.distributed import distributed_c10d
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class CollectiveTimeout(TrainerCallback):
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the timeout of every group that this rank is in: DeepSpeed has made its own by now."""
        for group in distributed_c10d._world.pg_map:
            distributed_c10d._set_pg_timeout(args.ddp_timeout_delta, group)
