"""Rows of plain text for pre-training: token ids, each document closed by the end-of-sequence token."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Encoding

from heirloom.config.sections.processing import ProcessingSection, TrainOnTemplates
from heirloom.data.rows.masking import IGNORED, TemplateMask, labels_of
from heirloom.data.rows.prompt_keys import prompt_key
from heirloom.data.rows.rows import FinishedRow, Prepared, padded
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.rows.truncation import Dropped, Packer, kept, kept_part
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

    def finish(self, prepared: Prepared, encodings: list[Encoding], split: str) -> Iterator[FinishedRow]:
        ids = np.asarray(encodings[0].ids, dtype=np.int32)
        trained = self.mask.spans(prepared.details, ids, encodings[0]) if self.mask else None
        end = np.array([self.tokenizer.eos_token_id], dtype=np.int32)
        end = end[: not len(ids) or int(ids[-1] != end[0])]  # nothing where the text has it
        if len(end) and trained and trained[-1][1] == len(ids):
            trained[-1] = (trained[-1][0], len(ids) + 1)
        if self.packers:
            for part in (ids, end):
                for row in self.packers[split].add(part):
                    yield FinishedRow({"input_ids": row}, len(row), len(row))
            return
        keep = kept(len(ids) + len(end), self.section)
        columns: dict[str, Any] = {"input_ids": kept_part(ids, end, keep)}
        if trained is not None:
            inside = [(max(0, first - keep.start), max(0, last - keep.start)) for first, last in trained]
            columns["labels"] = labels_of(columns["input_ids"], inside)
        length = len(columns["input_ids"])
        count = length if trained is None else int((columns["labels"] != IGNORED).sum())
        if not count:
            raise Dropped("nothing_left_to_train_on")
        if self.section.padding:
            columns = padded(columns, self.section.max_length, self.tokenizer.pad_token_id)
        yield FinishedRow(columns, length, count, len(ids) + len(end) - length)

    def tokens_left_over(self, split: str) -> int:
        """Return how many tokens at the end of a packed split do not fill a row."""
        return len(self.packers[split].rest) if self.packers else 0
