"""The peak of main memory on each machine of a stage, and what machines have of it.

The processes, what DeepSpeed offloads, and whole weights where they pass through: ZeRO-3 reads a base's files on the
host, and saving gathers the trained model there (heirloom/training/checkpoints/saving_memory.py). Without GPUs all that
a GPU would hold is there as well. Rows are memory-mapped and take none.
"""

from dataclasses import dataclass

from heirloom.estimates.answering_memory import scoring_memory
from heirloom.estimates.model_shape import ModelShape
from heirloom.estimates.overheads import GIB
from heirloom.estimates.training_memory import TrainingSetup, training_memory

IMPORTED = 0.56 * GIB
"""A process that has imported torch, transformers, TRL, peft and DeepSpeed: 571 MiB resident, measured on 2026-11-30 on
Linux (torch 2.13 for CPUs)."""
CUDA = 1.2 * GIB
"""What the first use of CUDA adds: 1,203.5 MiB (github.com/pytorch/pytorch/issues/106511, read on 2026-11-30)."""
ONE_FILE = 2e9
"""Bytes of the largest file of weights, which merging an adapter holds: `heirloom.models.weights.SHARD`."""

DOUBLING = {"": 16, "2": 32, "4": 64, "8": 128, "16": 256, "12": 192, "24": 384, "48": 768}
SIZES: dict[str, dict[str, int]] = {
    "p3dn": {"24": 768},
    "p4d": {"24": 1152},
    "p4de": {"24": 1152},
    "p5": {"4": 256, "48": 2048},
    "p5e": {"48": 2048},
    "p5en": {"48": 2048},
    "p6-b200": {"48": 2048},
    "g4dn": {size: memory for size, memory in DOUBLING.items() if size not in ("24", "48")},
    "g5": DOUBLING,
    "g6": DOUBLING,
    "g6e": {size: 2 * memory for size, memory in DOUBLING.items()},
    "g7e": {"2": 64, "4": 128, "8": 256, "12": 512, "24": 1024, "48": 2048},
}
"""Family → size → GiB, as EC2's DescribeInstanceTypes gave them to moto 5.2 (ec2/resources/instance_types.json.gz),
with which a test compares them. Others are not told: p2 and p3 are not in that file."""


@dataclass(frozen=True)
class HostMemory:
    """Bytes of main memory that a stage takes of each machine at its peak, and that a machine has; None: not known."""

    needed: float
    machine: float | None = None

    @property
    def fits(self) -> bool:
        """Whether it fits, as far as that is known."""
        return self.machine is None or self.needed <= self.machine

    def __str__(self) -> str:
        """Tell both as people read them."""
        of = "" if self.machine is None else f" of {self.machine / GIB:,.0f}"
        return f"{self.needed / GIB:.1f}{of} GiB"


def machine_memory(name: str, mem_mb: int | None = None) -> float | None:
    """Return the bytes of main memory of an instance type, or of a cluster's node, whose run says it (`mem_mb`)."""
    if not name.startswith("ml."):
        return mem_mb and mem_mb * 2.0**20
    family, _, size = name.removeprefix("ml.").partition(".")
    found = SIZES.get(family, {}).get(size.removesuffix("xlarge")) if size.endswith("xlarge") else None
    return found and found * float(GIB)


def training_host(setup: TrainingSetup, ranks_here: int, gpus: bool, saved: int, merges: bool) -> float:
    """Return the bytes of main memory that a training takes of its first machine, which has the most to do.

    `saved`: bytes of a weight in the base's files; `merges`: the adapter is merged into the base at the end.
    """
    memory = training_memory(setup)
    processes = ranks_here * (IMPORTED + (CUDA if gpus else memory.total) + memory.host_per_rank)
    if not gpus:
        return processes
    weights = setup.shape.parameters
    reading = weights * saved if setup.settings.stage == 3 else 0  # mapped files: once for all ranks of a machine
    if setup.adapter is None:
        saving = weights * setup.d if setup.settings.present else 0
    else:
        saving = min(weights * saved, ONE_FILE) if merges else 0
    return processes + max(reading, saving)


def answering_host(shape: ModelShape, ranks_here: int, gpus: bool, saved: int, length: int) -> float:
    """Return the same of answers and scores, each rank with the whole model, one row of `length` tokens at a time.

    On GPUs weights go from the files straight there.
    """
    return ranks_here * (IMPORTED + (CUDA if gpus else scoring_memory(shape, 1, length, saved)))
