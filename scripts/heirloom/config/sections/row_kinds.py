"""The kinds of rows that a processed dataset may hold, and the label in them that counts for nothing.

A module of its own, since stages depend on what they import.
"""

from typing import Literal

Kind = Literal["text", "chat", "preference", "labelled", "seq2seq"]
KIND_NAMES = "text, chat, preference, labelled or seq2seq"
IGNORED = -100
"""The label of a token that is not trained on or measured: torch.nn.functional.cross_entropy's ignore_index."""
