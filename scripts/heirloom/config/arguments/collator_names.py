"""Which collators there are (`training.collator`); known without torch. Which fit a trainer says its entry."""

from typing import Literal

CollatorName = Literal[
    "default", "completion_only", "seq2seq", "mlm", "dynamic_padding_only", "rl_dynamic_padding_only"
]
