"""Which collators there are (`training.collator`), and which fit a trainer; known without torch."""

from typing import Literal

from heirloom.errors import HeirloomError

CollatorName = Literal[
    "default", "completion_only", "seq2seq", "mlm", "dynamic_padding_only", "rl_dynamic_padding_only"
]

FITTING: dict[str, tuple[CollatorName, ...]] = {
    "trainer": ("dynamic_padding_only", "completion_only", "mlm", "seq2seq"),
    "seq2seq": ("seq2seq", "completion_only", "dynamic_padding_only"),
    "sft": ("completion_only", "dynamic_padding_only"),
    "dpo": ("rl_dynamic_padding_only",),
    "orpo": ("rl_dynamic_padding_only",),
}
"""The collators of each trainer; the first is what `default` means."""


def fitting_collator(name: CollatorName, trainer: str) -> CollatorName:
    """Return the collator `name` of `trainer`, with `default` resolved. Raises HeirloomError when it does not fit."""
    fitting = FITTING[trainer]
    if name == "default":
        return fitting[0]
    if name not in fitting:
        raise HeirloomError(
            f"training.collator: {name} does not fit trainer: {trainer}, which takes {' or '.join(fitting)} "
            f"(default: {fitting[0]})"
        )
    return name
