"""What the project knows of a trainer: one entry of the table of trainers."""

from dataclasses import dataclass

from heirloom.config.arguments.collator_names import CollatorName
from heirloom.errors import HeirloomError

SECTIONS = ("training", "peft", "quantization")
"""Sections of a run's file that are part of a training's identity; `tracking` and `resources` are not, and read too."""


@dataclass(frozen=True)
class TrainerSpec:
    """One word after `trainer:` in a run's file, and all that follows from it outside its script."""

    name: str
    title: str
    """What it does, in a few words."""
    script: str
    """The program of its stage, relative to the repository."""
    arguments_class: str
    """The library's class that the keys of `training:` go to, by its full name."""
    row_kinds: tuple[str, ...]
    """The kinds of datasets that it learns from, the usual one first."""
    collators: tuple[CollatorName, ...]
    """The collators that fit (`training.collator`); the first is what `default` means."""
    held_out: tuple[str, ...] = ("loss",)
    """What a measurement of its held-out rows gives, by the names that it is logged by, without `eval_`."""
    held_out_answers: tuple[str, ...] = ()
    """What it gives besides with training.predict_with_generate."""
    generates: bool = False
    """Whether it can answer held-out prompts while it trains: then `generation` is part of its identity."""
    joins_rows: bool = False
    """Whether training.seq_length joins the rows of a text and cuts them anew."""
    packs_rows: bool = False
    """Whether it knows training.packing."""
    rewarded: bool = False
    """Whether it learns from the rewards of its own answers: then a run has training.rewards."""
    scores: bool = False
    """Whether its checkpoint is a reward model, which gives a text one number and predicts no token."""

    @property
    def takes_pairs(self) -> bool:
        """Whether a row is a pair, an answer that is chosen and one that is rejected: two sequences."""
        return self.row_kinds == ("preference",)

    def fitting_collator(self, name: CollatorName) -> CollatorName:
        """Return the collator `name`, with `default` resolved. Raises HeirloomError when it does not fit."""
        default = self.collators[0]
        if name == "default":
            return default
        if name not in self.collators:
            raise HeirloomError(
                f"training.collator: {name} does not fit trainer: {self.name}, which takes "
                f"{' or '.join(self.collators)} (default: {default})"
            )
        return name

    def sections(self, predicts: bool) -> tuple[str, ...]:
        """Return the sections that its identity has, as far as a run has them; `predicts`: training does so too."""
        return (*SECTIONS, "generation") if self.generates and predicts else SECTIONS
