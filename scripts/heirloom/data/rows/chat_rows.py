"""Rows of chats for supervised fine-tuning: token ids, and labels that say which of them are trained on."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding

from heirloom.config.sections.processing import ProcessingSection, TrainOnTemplates
from heirloom.data.rows.chat_templates import ChatTemplate
from heirloom.data.rows.masking import IGNORED, TemplateMask, labels_of
from heirloom.data.rows.prompt_keys import prompt_key, prompt_keys
from heirloom.data.rows.rows import FinishedRow, Prepared, padded
from heirloom.data.rows.token_positions import Located, located
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.rows.truncation import Dropped, kept, kept_part
from heirloom.data.rows.turns import ASSISTANT, TurnFinder


class ChatRows:
    """Makes input_ids and labels; for the test split also the prompt and the reference of the last answer."""

    needs = ("messages",)

    def __init__(self, section: ProcessingSection, tokenizer: Tokenizer, template: ChatTemplate):
        self.section, self.tokenizer, self.template = section, tokenizer, template
        self.finder = TurnFinder(template, tokenizer.added_tokens)
        by_templates = isinstance(section.train_on, TrainOnTemplates)
        self.mask = TemplateMask(section.train_on, tokenizer.positions, False) if by_templates else None

    def columns(self, split: str) -> dict[str, str]:
        """Return the columns of a split and their types."""
        columns = {"input_ids": "ids", "labels": "ids"}
        if self.section.padding:
            columns["attention_mask"] = "ids"
        if split == "test":
            columns |= {"row_id": "text", "prompt": "text", "prompt_ids": "ids", "reference": "text"}
        return columns

    def prompt_keys(self, prepared: Prepared) -> list[int]:
        """Return the keys of the prompts that the row trains on, the last answer's last: the text before each turn."""
        text, spans, _, prompt = prepared.details
        return [prompt_key(prompt)] if spans is None else prompt_keys(text, [start for start, _ in spans])

    def prepare(self, record: dict[str, Any], split: str) -> Prepared:
        messages, tools = record["messages"], record.get("tools")
        if self.section.train_on in ("assistant", "last_assistant"):
            text, spans = self.finder.render(messages, self.section.add_generation_prompt, tools)
            if not spans:
                raise ValueError("it has no assistant turn, so nothing would be trained on")
            spans = spans if self.section.train_on == "assistant" else spans[-1:]
        else:
            text, spans = self.template.render(messages, self.section.add_generation_prompt, tools), None
        if split == "train" and spans is not None:
            return Prepared([text], False, (text, spans, {}, None))
        answer = last_answer(messages)
        if split == "train":
            prompt = self.template.render(messages[:answer], True, tools) if answer < len(messages) else text
            return Prepared([text], False, (text, spans, {}, prompt))
        if answer == len(messages):
            raise ValueError("it has no assistant turn, so there is nothing to compare generations with")
        prompt = self.template.render(messages[:answer], True, tools) if answer else ""
        reference = {"prompt": prompt, "reference": text_of(messages[answer])}
        return Prepared([text, prompt], False, (text, spans, reference, prompt))

    def locate(self, batch: Sequence[Prepared], encodings: Sequence[list[Any]]) -> None:
        """Find the trained tokens of all rows of a batch at once, and put them in the place of the encodings."""
        rows = [row for row, prepared in enumerate(batch) if prepared.details[1] is not None]
        rows = [row for row in rows if isinstance(encodings[row][0], Encoding)]
        texts, spans = ([batch[row].details[part] for row in rows] for part in (0, 1))
        found = located(self.tokenizer.positions, texts, [encodings[row][0] for row in rows], spans, IGNORED)
        for row, tokens in zip(rows, found, strict=True):
            encodings[row][0] = tokens or encodings[row][0]

    def finish(self, prepared: Prepared, encodings: list[Encoding | Located], split: str) -> Iterator[FinishedRow]:
        text, spans, reference, _ = prepared.details
        encoding = encodings[0]
        if isinstance(encoding, Located) and split == "train" and not self.section.padding:
            length = len(encoding.ids)
            if length <= self.section.max_length:
                if not encoding.count:
                    raise Dropped("nothing_left_to_train_on")
                yield FinishedRow({"input_ids": encoding.ids, "labels": encoding.labels}, length, encoding.count)
                return
        ids = np.asarray(encoding.ids, dtype=np.int32)
        if isinstance(encoding, Located):
            trained = encoding.spans
        elif spans is not None:
            trained = self.tokenizer.positions.token_spans(text, ids, encoding, spans)
        elif self.mask:
            trained = self.mask.spans(text, ids, encoding)
        else:
            trained = [(0, len(ids))]
        keep = kept(len(ids), self.section)
        first, last = keep.start, keep.stop
        count = sum(max(0, min(end, last) - max(start, first)) for start, end in trained)
        if not count:
            raise Dropped("nothing_left_to_train_on")
        labels = labels_of(ids[keep], [(max(0, start - first), max(0, end - first)) for start, end in trained])
        columns: dict[str, Any] = {"input_ids": kept_part(ids, ids[:0], keep), "labels": labels}
        if self.section.padding:
            columns = padded(columns, self.section.max_length, self.tokenizer.pad_token_id)
        if split == "test":
            columns |= {**reference, "prompt_ids": encodings[1].ids}
        yield FinishedRow(columns, last - first, count, len(ids) - (last - first))


def last_answer(messages: list[dict[str, Any]]) -> int:
    """Return the index of the last assistant message; the number of messages when there is none."""
    answers = [index for index, message in enumerate(messages) if message.get("role") == ASSISTANT]
    return answers[-1] if answers else len(messages)


def text_of(message: dict[str, Any]) -> str:
    """Return a message's content as text; of a list of parts the text parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
