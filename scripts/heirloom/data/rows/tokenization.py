"""Load a tokenizer without loading torch, and encode many texts at once."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Encoding

from heirloom.data.rows.long_texts import LongText
from heirloom.data.rows.token_positions import TokenPositions
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.models.remote_code import loading, loading_from

# Classes of tokenizer_config.json that mean: everything is in tokenizer.json.
GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend", None}
TEXTS_AT_A_TIME = 128  # whose encodings are held at once


class TokenIds(NamedTuple):
    """All that is kept of the encoding of a text whose tokens tell their characters by their lengths."""

    ids: np.ndarray  # (T,) int32


Encoded = Encoding | TokenIds | LongText


class Tokenizer:
    """A fast tokenizer: transformers' own, of which the Rust part encodes batches on all cores."""

    def __init__(self, folder: Path):
        """Load a tokenizer folder (tokenizer.json, tokenizer_config.json); raises HeirloomError when it is none."""
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        self.folder = folder
        self.transformers_tokenizer = load_transformers_tokenizer(folder)
        backend = getattr(self.transformers_tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise HeirloomError(f"{folder}: its tokenizer has no fast version (tokenizer.json): convert it first")
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.positions = TokenPositions(backend)

    @property
    def eos_token(self) -> str | None:
        return self.transformers_tokenizer.eos_token

    @property
    def eos_token_id(self) -> int | None:
        return self.transformers_tokenizer.eos_token_id

    @property
    def pad_token_id(self) -> int | None:
        return self.transformers_tokenizer.pad_token_id

    @property
    def special_tokens(self) -> dict[str, str]:
        """The named special tokens as chat templates get them: bos_token, eos_token, …"""
        return dict(self.transformers_tokenizer.special_tokens_map)

    @property
    def added_tokens(self) -> list[str]:
        """The tokens that the tokenizer never splits: special tokens and others."""
        return [token.content for token in self.transformers_tokenizer.added_tokens_decoder.values()]

    @property
    def end_token_ids(self) -> set[int]:
        """The ids of the tokens that can end a turn: the added ones, and the end-of-sequence token."""
        return {*self.transformers_tokenizer.added_tokens_decoder, self.eos_token_id} - {None}

    @property
    def has_tool_template(self) -> bool:
        """Whether the tokenizer has several chat templates, of which one is for tools."""
        templates = self.transformers_tokenizer.chat_template
        return isinstance(templates, dict) and "tool_use" in templates

    def chat_template(self, tools: list | None = None) -> str:
        """Return the tokenizer's own chat template, for `tools` that for tools; raises HeirloomError without one."""
        try:
            return self.transformers_tokenizer.get_chat_template(tools=tools)
        except ValueError:
            raise HeirloomError(
                f"{self.folder}: this tokenizer has no chat template: name a file in processing.chat_template"
            ) from None

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer begins texts with the beginning-of-sequence token by itself."""
        bos = self.transformers_tokenizer.bos_token_id
        return bos is not None and self.backend.encode("a").ids[:1] == [bos]

    def without_bos(self, text: str) -> str:
        """Return a text without the beginning-of-sequence tokens that it is written with, if the tokenizer adds one."""
        bos = self.transformers_tokenizer.bos_token
        if bos and text.startswith(bos) and self.adds_bos:
            while text.startswith(bos):
                text = text.removeprefix(bos)
        return text

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[Encoding]:
        """Encode texts on all cores; the other threads of this process run on meanwhile."""
        encode = self.backend.encode_batch if self.positions.tracked else self.backend.encode_batch_fast
        return encode(texts, add_special_tokens=add_special_tokens)

    def encode_to_ids(self, texts: Sequence[str], add_special_tokens: bool) -> Iterator[Encoding | TokenIds]:
        """Yield the encoding of each text in turn; nothing but its ids where the characters need no tracking.

        An encoding holds a hundred bytes and a piece of memory of its own for each token. Let go of at once, a few at
        a time, these are used again by the next, and the tokenizer takes a tenth less.
        """
        if self.positions.tracked:
            yield from self.encode(texts, add_special_tokens)
            return
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            encodings = self.encode(texts[start : start + TEXTS_AT_A_TIME], add_special_tokens)
            lists = [encoding.ids for encoding in encodings]
            del encodings
            ends = np.cumsum([len(ids) for ids in lists]).tolist()
            flat = np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=ends[-1])
            del lists
            yield from (TokenIds(flat[first:last]) for first, last in zip([0, *ends], ends, strict=False))

    def encode_pieces(self, text: str, add_special_tokens: bool) -> LongText:
        """Return a very long text, to be encoded in little memory."""
        return LongText(self.positions.encode_tracked, text, add_special_tokens, self.positions.tracked)

    def facts(self) -> dict[str, Any]:
        """Return what identifies this tokenizer in dataset.json: its size, special tokens and the hash of its file."""
        file = self.folder / "tokenizer.json"
        return {
            "vocabulary_size": len(self.transformers_tokenizer),
            "bos_token": self.transformers_tokenizer.bos_token,
            "eos_token": self.eos_token,
            "eos_token_id": self.eos_token_id,
            "pad_token": self.transformers_tokenizer.pad_token,
            "pad_token_id": self.pad_token_id,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None,
        }


def load_transformers_tokenizer(folder: Path) -> Any:
    """Load a tokenizer folder as AutoTokenizer does; where the class is the generic one, without importing torch."""
    settings = folder / "tokenizer_config.json"
    if not folder.is_dir() or not any((folder / name).is_file() for name in (settings.name, "tokenizer.json")):
        raise HeirloomError(f"{folder}: holds no tokenizer; expected a folder with tokenizer.json")
    name = read_json(settings).get("tokenizer_class") if settings.is_file() else None
    if name in GENERIC_CLASSES and (folder / "tokenizer.json").is_file() and not (folder / "config.json").is_file():
        from transformers.tokenization_utils_tokenizers import TokenizersBackend

        with loading_from(folder):
            return TokenizersBackend.from_pretrained(str(folder), local_files_only=True)
    from transformers import AutoTokenizer

    with loading_from(folder):
        return AutoTokenizer.from_pretrained(str(folder), **loading())
