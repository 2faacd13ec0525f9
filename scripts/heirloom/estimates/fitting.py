"""Does a training fit the memory of its cards, and if not, what is the cheapest change with which it does?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from heirloom.config.arguments.instance_types import INSTANCES, Instance
from heirloom.estimates.deepspeed_settings import deepspeed_settings
from heirloom.estimates.overheads import GIB, TIGHT, usable, with_overheads
from heirloom.estimates.setups import Hosts
from heirloom.estimates.training_memory import FOUR_BITS, TrainingSetup, training_memory

STAGES = ("zero2", "zero3", "zero3_offload")
"""Files of config/deepspeed/, each of which takes less of a card than the one before."""


@dataclass(frozen=True)
class Fit:
    """Bytes of a card that a stage takes at its peak, and that the card has; the phase that is the peak."""

    needed: float
    card: float
    phase: str = ""

    @property
    def fits(self) -> bool:
        """Whether it fits at all."""
        return self.needed <= self.card

    @property
    def tight(self) -> bool:
        """Whether it fits, with less to spare than the formulas are exact to."""
        return self.fits and self.needed > TIGHT * self.card

    def __str__(self) -> str:
        """Tell both as people read them."""
        return f"{self.needed / GIB:.1f} of {self.card / GIB:.1f} GiB"


def fit_of(setup: TrainingSetup, instance: Instance) -> Fit:
    """Return how a training fits the cards of an instance."""
    memory = training_memory(setup)
    card = usable(instance.card, instance.card_memory)
    return Fit(with_overheads(memory.total, setup.ranks), card, memory.phase)


def cheapest_change(setup: TrainingSetup, batch: int, hosts: Hosts, root: Path) -> str | None:
    """Return the first change, from the cheapest on, with which a training has a tenth of its cards to spare."""
    for text, changed, machine in changes(setup, batch, hosts, root):
        fit = fit_of(changed, machine)
        if fit.fits and not fit.tight:
            return f"{text} takes {fit}"
    return None


def changes(
    setup: TrainingSetup, batch: int, hosts: Hosts, root: Path
) -> Iterator[tuple[str, TrainingSetup, Instance]]:
    """Yield changes and what they make of the setup: those that cost time before those that change what is trained."""
    instance, size = hosts.instance, batch
    while size > 1:
        size //= 2
        smaller = replace(setup, tokens=setup.tokens * size // batch)
        yield f"training.per_device_train_batch_size: {size}", smaller, instance
    smallest = replace(setup, tokens=setup.tokens // batch)
    text = "" if batch == 1 else "training.per_device_train_batch_size: 1 with "
    checkpointed = replace(setup, checkpointing=True)
    if not setup.checkpointing:
        yield "training.gradient_checkpointing: true", checkpointed, instance
        yield f"{text}training.gradient_checkpointing: true", replace(smallest, checkpointing=True), instance
    for name in STAGES:
        file = root / "config" / "deepspeed" / f"{name}.json"
        if file.is_file():
            settings = deepspeed_settings(file, setup.shape.hidden)
            further = settings.stage > setup.settings.stage or settings.optimizer_on != setup.settings.optimizer_on
            if further:
                yield f"deepspeed: {name}", replace(checkpointed, settings=settings), instance
                yield f"{text}deepspeed: {name}", replace(smallest, checkpointing=True, settings=settings), instance
    if setup.adapter is not None and setup.quantized is None:
        yield "quantization: {load_in_4bit: true}", replace(checkpointed, quantized=FOUR_BITS), instance
    for name, larger in sorted(INSTANCES.items(), key=lambda item: (item[1].card_memory, item[1].gpus)):
        if hosts.is_instance and larger.card_memory > instance.card_memory and larger.gpus == instance.gpus:
            yield f"resources.instance_type: ml.{name}", replace(setup, ranks=larger.gpus * hosts.count), larger
