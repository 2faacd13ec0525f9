"""Rows of source and target texts for encoder-decoder models: token ids of both, each closed by its end token."""

from collections.abc import Iterator
from typing import Any

from tokenizers import Encoding

from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.rows.prompt_keys import prompt_key
from heirloom.data.rows.rows import FinishedRow, Prepared
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.rows.truncation import Dropped, shortened
from heirloom.errors import HeirloomError


class Seq2SeqRows:
    """Makes input_ids (the source) and labels (the target); for the test split also prompt and reference."""

    needs = ("source", "target")

    def __init__(self, section: ProcessingSection, tokenizer: Tokenizer):
        """Raises HeirloomError for a tokenizer that cannot end a target, or ends it by the language (mBART, NLLB)."""
        if tokenizer.eos_token_id is None:
            raise HeirloomError(f"{tokenizer.folder}: the tokenizer has no eos_token, which has to close targets")
        if hasattr(tokenizer.transformers_tokenizer, "set_tgt_lang_special_tokens"):
            raise HeirloomError(
                f"{tokenizer.folder}: this tokenizer closes sources and targets by their languages, which no key of "
                "processing names: use a model whose tokenizer treats both alike (T5, BART, Pegasus)"
            )
        self.section, self.tokenizer = section, tokenizer

    def columns(self, split: str) -> dict[str, str]:
        """Return the columns of a split and their types."""
        columns = {"input_ids": "ids", "labels": "ids"}
        if split == "test":
            columns |= {"row_id": "text", "prompt": "text", "prompt_ids": "ids", "reference": "text"}
        return columns

    def prompt_keys(self, prepared: Prepared) -> list[int]:
        """Return the key of the source, by which equal ones are found across splits."""
        return [prompt_key(prepared.details[0])]

    def prepare(self, record: dict[str, Any], split: str) -> Prepared:
        source, target = self.tokenizer.without_bos(record["source"]), record["target"]
        for name, text in (("source", source), ("target", target)):
            if not text.strip():
                raise Dropped(f"empty_{name}")
        return Prepared([source, target], True, (source, target))

    def finish(self, prepared: Prepared, encodings: list[Encoding], split: str) -> Iterator[FinishedRow]:
        whole = [self.closed(encodings[0], with_end=False), self.closed(encodings[1], with_end=True)]
        limits = (self.section.max_length, self.section.longest_target)
        source, target = (
            shortened(ids, closing, limit, self.section, f"longer_than_{key}")
            for (ids, closing), limit, key in zip(whole, limits, ("max_length", "max_target_length"), strict=True)
        )
        columns: dict[str, Any] = {"input_ids": source, "labels": target}
        if split == "test":
            prompt, reference = prepared.details
            columns |= {"prompt": prompt, "prompt_ids": source, "reference": reference}
        cut = sum(len(ids) for ids, _ in whole) - len(source) - len(target)
        yield counted_source_and_target(columns, cut)

    def closed(self, encoding: Encoding, with_end: bool) -> tuple[list[int], tuple[int, int]]:
        """Return a text's token ids and how many of the first and of the last of them the tokenizer added.

        `with_end` adds the end token where the tokenizer does not: a model that is never shown one never stops.
        """
        ids, added = encoding.ids, encoding.special_tokens_mask
        first = next((at for at, flag in enumerate(added) if not flag), len(ids))
        last = next((at for at, flag in enumerate(reversed(added)) if not flag), 0)
        if with_end and ids[-1:] != [self.tokenizer.eos_token_id]:
            ids, last = [*ids, self.tokenizer.eos_token_id], last + 1
        return ids, (first, last)


def counted_source_and_target(columns: dict[str, Any], cut: int = 0) -> FinishedRow:
    """Return a row with its counts: two sequences, of which the target is trained on."""
    source, target = len(columns["input_ids"]), len(columns["labels"])
    return FinishedRow(columns, max(source, target), target, cut, min(source, target))
