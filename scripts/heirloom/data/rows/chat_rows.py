"""Rows of chats for supervised fine-tuning: token ids, and labels that say which of them are trained on."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from heirloom.config.sections.processing import ProcessingSection, TrainOnTemplates
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.chats.chat_templates import ChatTemplate, Message
from heirloom.data.chats.message_forms import (
    ASSISTANT,
    PlainMessages,
    as_json,
    normal_messages,
    normal_tools,
    reasoning_of,
    wanted,
)
from heirloom.data.chats.turns import Reading, TurnFinder
from heirloom.data.rows.long_texts import LongText
from heirloom.data.rows.masking import TemplateMask, labels_of
from heirloom.data.rows.prompt_keys import prompt_key, prompt_keys
from heirloom.data.rows.rows import FinishedRow, Prepared, padded
from heirloom.data.rows.token_positions import Located, Span, located
from heirloom.data.rows.tokenization import Encoded, Tokenizer
from heirloom.data.rows.truncation import Dropped, kept, kept_part


class ChatRows:
    """Makes input_ids and labels; for the test split also the prompt and the reference of the last answer."""

    needs = ("messages",)

    def __init__(
        self,
        section: ProcessingSection,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        tool_template: ChatTemplate | None = None,
    ):
        """`tool_template`: for the rows with tools, where the tokenizer has one of their own."""
        self.section, self.tokenizer = section, tokenizer
        self.finder = TurnFinder(template, tokenizer.added_tokens)
        self.tool_finder = TurnFinder(tool_template, tokenizer.added_tokens) if tool_template else self.finder
        by_templates = isinstance(section.train_on, TrainOnTemplates)
        self.mask = TemplateMask(section.train_on, tokenizer.positions, False) if by_templates else None
        self.by_turns = section.train_on in ("assistant", "last_assistant")
        self.ends, self.trains_an_end = tokenizer.end_token_ids, False
        self.parted_prompts = 0  # rows of the test split

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
        messages, tools = normal_messages(record["messages"]), normal_tools(record.get("tools"))
        finder = self.tool_finder if tools else self.finder
        flags = [None] * len(messages) if isinstance(messages, PlainMessages) else wanted(record["messages"])
        trained = self.trained_messages(messages, flags)
        reading = finder.read(messages, self.section.add_generation_prompt, tools, locate=self.by_turns)
        spans = self.trained_spans(reading, trained) if self.by_turns else None
        if split == "train" and spans is not None:
            return Prepared([reading.text], False, (reading.text, spans, {}, None))
        answer = last_answer(messages)
        if split == "train":
            prompt = reading.text if answer == len(messages) else finder.prompt(messages[:answer], tools, reading.form)
            return Prepared([reading.text], False, (reading.text, spans, {}, prompt))
        if answer == len(messages):
            raise ValueError("it has no assistant turn, so there is nothing to compare generations with")
        prompt = finder.prompt(messages[:answer], tools, reading.form)
        reference = {"prompt": prompt, "reference": self.reference(reading, messages, answer)}
        return Prepared([reading.text, prompt], False, (reading.text, spans, reference, prompt))

    def trained_messages(self, messages: list[Message], flags: list[bool | None]) -> set[int]:
        """Return the numbers of the assistant messages that are trained on, by train_on and by their own flags.

        Raises ValueError for flags that cannot be obeyed, Dropped when nothing is left or an answer is empty.
        """
        answers = [number for number, message in enumerate(messages) if message["role"] == ASSISTANT]
        if not answers and self.by_turns:
            raise ValueError("it has no assistant turn, so nothing would be trained on")
        for number, flag in enumerate(flags):
            if flag is None:
                continue
            if flag and messages[number]["role"] != ASSISTANT:
                raise ValueError(
                    f"message {number + 1} ({messages[number]['role']}) asks to be trained on, but only assistant "
                    "messages can be: take the flag away, or use train_on: all for all of the text"
                )
            if flag is False and not self.by_turns and number in answers:
                raise ValueError(
                    f"message {number + 1} asks not to be trained on, which only train_on: assistant and "
                    "last_assistant obey"
                )
        if self.section.train_on == "last_assistant":
            answers = answers[-1:]
        trained = {number for number in answers if flags[number] is not False}
        if answers and not trained:
            raise Dropped("no_turn_to_train_on")
        for number in trained:
            if is_empty(messages[number]):
                raise Dropped("empty_answer")
        return trained

    def trained_spans(self, reading: Reading, trained: set[int]) -> list[Span]:
        """Return the characters that are trained on. Raises Dropped when the template marks none of them."""
        spans = [span for turn in reading.turns if turn.message in trained for span in turn.spans]
        if not spans:
            raise Dropped("no_turn_to_train_on")
        return sorted(spans)

    def reference(self, reading: Reading, messages: list[Message], answer: int) -> str:
        """Return what generations are compared with: the last answer's content, or what is trained on where that is
        something else (tool calls, an answer without its reasoning)."""
        message, trained = messages[answer], reading.trained_text(answer)
        content = message.get("content") or ""
        if trained is None:
            calls = [as_json(call["function"]) for call in message.get("tool_calls", [])]
            return "\n".join([*([content] if content else []), *calls])
        if content and content.strip() in trained and not message.get("tool_calls"):
            return content
        return self.finder.without_end(trained)

    def locate(self, batch: Sequence[Prepared], encodings: Sequence[list[Any]]) -> None:
        """Find the trained tokens of all rows of a batch at once, and put them in the place of the encodings."""
        if self.tokenizer.positions.tracked:
            return
        rows = [row for row, prepared in enumerate(batch) if prepared.details[1] is not None]
        rows = [row for row in rows if not isinstance(encodings[row][0], LongText)]
        texts, spans = ([batch[row].details[part] for row in rows] for part in (0, 1))
        parts = [encodings[row][0].ids for row in rows]
        found = located(self.tokenizer.positions, texts, parts, spans, IGNORED)
        for row, tokens in zip(rows, found, strict=True):
            encodings[row][0] = tokens or encodings[row][0]

    def finish(self, prepared: Prepared, encodings: list[Encoded | Located], split: str) -> Iterator[FinishedRow]:
        text, spans, reference, _ = prepared.details
        encoding = encodings[0]
        if isinstance(encoding, Located) and split == "train" and not self.section.padding:
            length = len(encoding.ids)
            if length <= self.section.max_length:
                if not encoding.count:
                    raise Dropped("nothing_left_to_train_on")
                if not self.trains_an_end:
                    self.look_for_end(encoding.ids, encoding.spans, slice(0, length))
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
        if not self.trains_an_end and split == "train":
            self.look_for_end(ids, trained, keep)
        labels = labels_of(ids[keep], [(max(0, start - first), max(0, end - first)) for start, end in trained])
        columns: dict[str, Any] = {"input_ids": kept_part(ids, keep), "labels": labels}
        if self.section.padding:
            columns = padded(columns, self.section.max_length, self.tokenizer.pad_token_id)
        if split == "test":
            prompt_ids = encodings[1].ids
            self.parted_prompts += ids[: len(prompt_ids)].tolist() != list(prompt_ids)
            columns |= {**reference, "prompt_ids": prompt_ids}
        yield FinishedRow(columns, last - first, count, len(ids) - (last - first))

    def look_for_end(self, ids: Sequence[int], trained: Sequence[Span], keep: slice) -> None:
        """Note whether a trained span of tokens ends, within what is kept, with a token that can end a turn."""
        self.trains_an_end = any(keep.start < end <= keep.stop and int(ids[end - 1]) in self.ends for _, end in trained)

    def warnings(self) -> list[str]:
        """Return what is wrong with the rows as a whole."""
        found = []
        if not self.trains_an_end:
            eos = self.tokenizer.eos_token
            found.append(
                f"no row trains on a token that ends a turn (as {eos!r} would): the model will not learn to stop; "
                "use a chat template that writes one at the end of each turn"
            )
        if self.parted_prompts:
            found.append(
                f"{self.parted_prompts} prompts of the test split are not the beginning of their chat as tokens: the "
                "chat template writes the prompt otherwise, or tokens merge where it ends, so generations go on from "
                "what training did not see"
            )
        return found


def is_empty(message: Message) -> bool:
    """Tell whether an assistant message says nothing."""
    return not ((message.get("content") or "").strip() or message.get("tool_calls") or reasoning_of(message))


def last_answer(messages: list[dict[str, Any]]) -> int:
    """Return the index of the last assistant message; the number of messages when there is none."""
    answers = [index for index, message in enumerate(messages) if message.get("role") == ASSISTANT]
    return answers[-1] if answers else len(messages)
