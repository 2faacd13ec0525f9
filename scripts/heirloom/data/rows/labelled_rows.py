"""Rows of single answers that somebody judged good or bad: the token ids that TRL's KTOTrainer would make."""

from collections.abc import Iterator
from typing import Any

from tokenizers import Encoding

from heirloom.data.rows.preference_pairs import pair_of
from heirloom.data.rows.preference_rows import PreferenceRows, says_nothing, shared_length, text_of
from heirloom.data.rows.rows import FinishedRow, Prepared
from heirloom.errors import HeirloomError


class LabelledRows(PreferenceRows):
    """Makes prompt_ids, completion_ids and label; for the test split also their texts.

    As of pairs, a prompt and an answer, both texts or both messages, are encoded as one and parted where they part.
    """

    needs = ("prompt", "completion", "label")

    def columns(self, split: str) -> dict[str, str]:
        """Return the columns of a split and their types."""
        columns = {"prompt_ids": "ids", "completion_ids": "ids", "label": "truth"}
        if split == "test":
            columns |= dict.fromkeys(("row_id", "prompt", "completion", "reference"), "text")
        return columns

    def prepare(self, record: dict[str, Any], split: str) -> Prepared:
        if not isinstance(record["label"], bool):
            raise ValueError(f"its label must be true or false, found {record['label']!r}")
        answer = record["completion"]
        pair = pair_of({"prompt": record["prompt"], "chosen": answer, "rejected": answer, "tools": record.get("tools")})
        if says_nothing(pair, pair.chosen):
            raise ValueError("its answer is empty, so there is nothing that could be judged")
        if isinstance(pair.prompt, str):
            prompt, whole, _ = (plain := self.prepare_plain(pair, split)).texts
            return Prepared([prompt, whole], True, (*plain.details[:2], record["label"]))
        if self.finder is None:
            raise HeirloomError("the judged answers are chats: name a chat template in processing.chat_template")
        finder = self.tool_finder if pair.tools else self.finder
        whole = finder.read(pair.prompt + pair.chosen, False, pair.tools, locate=False)
        prompt = finder.prompt(pair.prompt, pair.tools, whole.form)
        return Prepared([prompt, whole.text], False, (prompt, text_of(pair.chosen), record["label"]))

    def finish(self, prepared: Prepared, encodings: list[Encoding], split: str) -> Iterator[FinishedRow]:
        prompt_ids, whole = (encoding.ids for encoding in encodings)
        shared = shared_length(prompt_ids, whole)
        if not whole[shared:]:
            raise ValueError("its answer has no token of its own after the prompt")
        prompt, answer, _, cut = self.shortened(prompt_ids[:shared], whole[shared:], [])
        text, completion, label = prepared.details
        columns = {"prompt_ids": prompt, "completion_ids": answer, "label": label}
        if split == "test":
            columns |= {"prompt": text, "completion": completion, "reference": completion}
        yield counted_answer(columns, cut)


def counted_answer(columns: dict[str, Any], cut: int = 0) -> FinishedRow:
    """Return the row of a judged answer with its counts: one sequence, trained on in its answer."""
    prompt, answer = len(columns["prompt_ids"]), len(columns["completion_ids"])
    return FinishedRow(columns, prompt + answer, answer, cut)
