"""The kinds of rows that a processed dataset may hold; a module of its own, since stages depend on what they import."""

from typing import Literal

Kind = Literal["text", "chat", "preference", "seq2seq"]
KIND_NAMES = "text, chat, preference or seq2seq"
