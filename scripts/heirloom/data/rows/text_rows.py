"""Rows of plain text for pre-training: token ids, each document closed by the end-of-sequence token."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from heirloom.config.sections.processing import ProcessingSection, TrainOnTemplates
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.rows.long_texts import LongText
from heirloom.data.rows.masking import TemplateMask, labels_of
from heirloom.data.rows.prompt_keys import prompt_key
from heirloom.data.rows.rows import FinishedRow, Prepared, padded
from heirloom.data.rows.tokenization import Encoded, Tokenizer
from heirloom.data.rows.truncation import Dropped, Packer, kept, kept_of_pieces, kept_part
from heirloom.errors import HeirloomError


class TextRows:
    """Makes input_ids (every token is trained on), and labels where a response template is given."""

    needs = ("text",)

    def __init__(self, section: ProcessingSection, tokenizer: Tokenizer):
        if tokenizer.eos_token_id is None:
            raise HeirloomError(f"{tokenizer.folder}: the tokenizer has no eos_token, which has to close documents")
        self.section, self.tokenizer = section, tokenizer
        self.packers = {split: Packer(section.max_length) for split in ("train", "test")} if section.packed else {}
        by_templates = isinstance(section.train_on, TrainOnTemplates)
        self.mask = TemplateMask(section.train_on, tokenizer.positions, True) if by_templates else None

    def columns(self, split: str) -> dict[str, str]:
        """Return the columns of a split and their types."""
        padding = self.section.padding
        labels = {"labels": "ids"} if self.mask or padding else {}
        return {"input_ids": "ids", **labels, **({"attention_mask": "ids"} if padding else {})}

    def prompt_keys(self, prepared: Prepared) -> list[int]:
        """Return the key of the text, by which equal ones are found across splits."""
        return [prompt_key(prepared.details)]

    def prepare(self, record: dict[str, Any], split: str) -> Prepared:
        text = self.tokenizer.without_bos(record["text"])
        if not text or text.isspace():
            raise Dropped("empty_text")
        return Prepared([text], True, text)

    def finish(self, prepared: Prepared, encodings: list[Encoded], split: str) -> Iterator[FinishedRow]:
        encoding = encodings[0]
        if self.mask:
            yield self.masked(prepared.details, encoding)
            return
        pieces = encoding.pieces() if isinstance(encoding, LongText) else (np.asarray(encoding.ids, dtype=np.int32),)
        if self.packers:
            for part in self.closed(pieces):
                for row in self.packers[split].add(part):
                    yield FinishedRow({"input_ids": row}, len(row), len(row))
            return
        ids, length = kept_of_pieces(self.closed(pieces), self.section)
        yield self.finished(ids, None, length)

    def closed(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the tokens of a text in pieces, and the end-of-sequence token where the text does not end with it."""
        last = None
        for piece in pieces:
            last = int(piece[-1]) if len(piece) else last
            yield piece
        if last != self.tokenizer.eos_token_id:
            yield np.array([self.tokenizer.eos_token_id], dtype=np.int32)

    def masked(self, text: str, encoding: Encoded) -> FinishedRow:
        """Return the row of a text of which the responses are trained on."""
        ids = np.asarray(encoding.ids, dtype=np.int32)
        trained = self.mask.spans(text, ids, encoding)
        whole = np.concatenate(list(self.closed((ids,))))
        if len(whole) > len(ids) and trained and trained[-1][1] == len(ids):
            trained[-1] = (trained[-1][0], len(whole))
        keep = kept(len(whole), self.section)
        inside = [(max(0, first - keep.start), max(0, last - keep.start)) for first, last in trained]
        part = kept_part(whole, keep)
        return self.finished(part, labels_of(part, inside), len(whole))

    def finished(self, ids: np.ndarray, labels: np.ndarray | None, length: int) -> FinishedRow:
        """Return the row of what is kept of `length` tokens; raises Dropped when none of it is trained on."""
        columns = {"input_ids": ids} if labels is None else {"input_ids": ids, "labels": labels}
        count = len(ids) if labels is None else int((labels != IGNORED).sum())
        if not count:
            raise Dropped("nothing_left_to_train_on")
        if self.section.padding:
            columns = padded(columns, self.section.max_length, self.tokenizer.pad_token_id)
        return FinishedRow(columns, len(ids), count, length - len(ids))

    def tokens_left_over(self, split: str) -> int:
        """Return how many tokens at the end of a packed split do not fill a row."""
        return len(self.packers[split].rest) if self.packers else 0
