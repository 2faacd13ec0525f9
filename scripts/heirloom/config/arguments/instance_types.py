"""How many GPUs a SageMaker instance type has, as far as known here (aws.amazon.com/ec2/instance-types)."""

import re

GPUS = {
    "p3.2xlarge": 1,
    "p3.8xlarge": 4,
    "p3.16xlarge": 8,
    "p3dn.24xlarge": 8,
    "p4d.24xlarge": 8,
    "p4de.24xlarge": 8,
    "p5.4xlarge": 1,
    "p5.48xlarge": 8,
    "p5e.48xlarge": 8,
    "p5en.48xlarge": 8,
    "p6-b200.48xlarge": 8,
    "g4dn.12xlarge": 4,
    "g5.12xlarge": 4,
    "g5.24xlarge": 4,
    "g5.48xlarge": 8,
    "g6.12xlarge": 4,
    "g6.24xlarge": 4,
    "g6.48xlarge": 8,
    "g6e.12xlarge": 4,
    "g6e.24xlarge": 4,
    "g6e.48xlarge": 8,
} | {f"{family}.{size}xlarge": 1 for family in ("g4dn", "g5", "g6", "g6e") for size in ("", "2", "4", "8", "16")}
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


def ranks(instance_type: str | None, instance_count: int | None) -> int | None:
    """Return how many ranks train there: one a GPU; two in total without GPUs; None for an unknown type.

    No instance type means this machine, which the configuration cannot know: two ranks are assumed, as on a CPU.
    """
    name = (instance_type or "").removeprefix("ml.")
    if not name or CPU_FAMILIES.match(name):
        return CPU_RANKS
    gpus = GPUS.get(name)
    return gpus and gpus * (instance_count or 1)
