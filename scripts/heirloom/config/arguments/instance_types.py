"""What a SageMaker instance type has: GPUs, which, their memory (aws.amazon.com/ec2/instance-types).

Memory of a card is the one that AWS states, in GB for the large cards and GiB for the small ones, taken for GiB here;
what CUDA gives of it is a little less (heirloom/estimates/overheads.py).
"""

import re
from typing import NamedTuple


class Instance(NamedTuple):
    """One machine; `card` is the GPU's name as `heirloom.estimates.model_flops.PEAKS` knows it, memory is in GiB."""

    gpus: int
    card: str
    card_memory: int


def sizes(family: str, card: str, memory: int, of_sizes: dict[str, int]) -> dict[str, Instance]:
    """Return the types of a family; `of_sizes`: size → number of GPUs."""
    return {f"{family}.{size}xlarge": Instance(gpus, card, memory) for size, gpus in of_sizes.items()}


ONE_TO_EIGHT = {"": 1, "2": 1, "4": 1, "8": 1, "16": 1, "12": 4, "24": 4, "48": 8}
# without g7, p6-b300 and p6e-gb200, whose cards have not been looked up: their stages are planned without a check
INSTANCES: dict[str, Instance] = {
    **sizes("p2", "K80", 12, {"": 1, "8": 8, "16": 16}),
    **sizes("p3", "V100-SXM2", 16, {"2": 1, "8": 4, "16": 8}),
    **sizes("p3dn", "V100-SXM2", 32, {"24": 8}),
    **sizes("p4d", "A100", 40, {"24": 8}),
    **sizes("p4de", "A100", 80, {"24": 8}),
    **sizes("p5", "H100 80GB HBM3", 80, {"4": 1, "48": 8}),
    **sizes("p5e", "H200", 141, {"48": 8}),
    **sizes("p5en", "H200", 141, {"48": 8}),
    **sizes("p6-b200", "B200", 180, {"48": 8}),
    **sizes("g4dn", "T4", 16, {size: gpus for size, gpus in ONE_TO_EIGHT.items() if size not in ("24", "48")}),
    **sizes("g5", "A10G", 24, ONE_TO_EIGHT),
    **sizes("g6", "L4", 24, ONE_TO_EIGHT),
    **sizes("g6e", "L40S", 48, ONE_TO_EIGHT),
    **sizes("g7e", "RTX PRO 6000", 96, {"2": 1, "4": 1, "8": 1, "12": 2, "24": 4, "48": 8}),
}
GPUS = {
    re.sub(r"[ -](80GB HBM3|SXM2)$", "", found.card).replace(" ", "-") + f"-{found.card_memory}GB": found
    for found in INSTANCES.values()
}
"""A100-80GB and the like → a machine with such cards: how a cluster's profile names what its nodes have."""
CPU_FAMILIES = re.compile(r"(t\d|m\d|c\d|r\d)[a-z]*\.")
WITH_EFA = re.compile(r"(p3dn|p4de?|p5e?n?|p6-\w+)\.(?!4xlarge)")
"""Families whose machines have the Elastic Fabric Adapter and GPUs enough to train on several of them."""
CPU_RANKS = 2


def slow_network(instance_type: str | None, instance_count: int | None, efa: bool | None) -> str | None:
    """Return why hosts would train slowly together; None for one host, and where there is nothing better."""
    if efa or (instance_count or 1) < 2 or not WITH_EFA.match((instance_type or "").removeprefix("ml.")):
        return None
    return (
        f"{instance_count} × {instance_type} without `efa: true` talk over TCP on one network card: what ZeRO-3 "
        "exchanges in a step takes several times as long as the step; add it, and an image that has EFA (docs/image.md)"
    )


def is_cpu(instance_type: str | None) -> bool:
    """Say whether an instance type is one of those known to have no GPU."""
    return CPU_FAMILIES.match((instance_type or "").removeprefix("ml.")) is not None


def ranks(instance_type: str | None, instance_count: int | None) -> int | None:
    """Return how many ranks train there: one a GPU; two in total without GPUs; None for an unknown type.

    No instance type means this machine, which the configuration cannot know: two ranks are assumed, as on a CPU.
    """
    name = (instance_type or "").removeprefix("ml.")
    if not name or CPU_FAMILIES.match(name):
        return CPU_RANKS
    found = INSTANCES.get(name)
    return found and found.gpus * (instance_count or 1)
