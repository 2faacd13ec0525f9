"""Rows of preference pairs: the token ids that TRL's DPOTrainer would make, made before any GPU is paid for."""

import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Encoding

from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.rows.chat_rows import text_of
from heirloom.data.rows.chat_templates import ChatTemplate
from heirloom.data.rows.prompt_keys import prompt_key
from heirloom.data.rows.rows import FinishedRow, Prepared
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.rows.truncation import Dropped
from heirloom.errors import HeirloomError

# A line that says who speaks now, as in hh-rlhf: `Assistant:`, `### Response:`
SPEAKER = re.compile(
    r"(?:\A|\n)[ \t]*(?:#+[ \t]*|<\|)?(?:assistant|bot|ai|model|gpt|response|answer)(?:\|>|:)", re.IGNORECASE
)


class PreferenceRows:
    """Makes prompt_ids, chosen_ids and rejected_ids; for the test split also their texts."""

    needs = ("chosen", "rejected")

    def __init__(self, section: ProcessingSection, tokenizer: Tokenizer, template: ChatTemplate | None):
        self.section, self.tokenizer, self.template = section, tokenizer, template

    def columns(self, split: str) -> dict[str, str]:
        """Return the columns of a split and their types."""
        columns = {"prompt_ids": "ids", "chosen_ids": "ids", "rejected_ids": "ids"}
        if split == "test":
            columns |= dict.fromkeys(("row_id", "prompt", "chosen", "rejected", "reference"), "text")
        return columns

    def prompt_keys(self, prepared: Prepared) -> list[int]:
        """Return the key of the prompt, by which equal ones are found across splits."""
        return [prompt_key(up_to_turn(prepared.details[0]))]

    def prepare(self, record: dict[str, Any], split: str) -> Prepared:
        record = with_prompt(record)
        prompt, chosen, rejected = record["prompt"], record["chosen"], record["rejected"]
        if not chosen or not rejected:
            raise ValueError("its chosen or rejected answer is empty, so there is nothing to prefer")
        if isinstance(prompt, str):
            return self.prepare_plain(prompt, chosen, rejected)
        if self.template is None:
            raise HeirloomError("the preference pairs are chats: name a chat template in processing.chat_template")
        tools = record.get("tools")
        texts = [
            self.template.render(prompt, True, tools),
            self.template.render(prompt + chosen, False, tools),
            self.template.render(prompt + rejected, False, tools),
        ]
        return Prepared(texts, False, (texts[0], text_of(chosen[-1]), text_of(rejected[-1])))

    def prepare_plain(self, prompt: str, chosen: str, rejected: str) -> Prepared:
        """Prepare a pair of plain texts, which are closed by the end-of-sequence token."""
        eos = self.tokenizer.eos_token
        if eos is None:
            raise HeirloomError(f"{self.tokenizer.folder}: the tokenizer has no eos_token, which has to close answers")
        closed = [answer if answer.endswith(eos) else answer + eos for answer in (chosen, rejected)]
        prompt = self.tokenizer.without_bos(prompt)
        return Prepared([prompt, *(prompt + answer for answer in closed)], True, (prompt, chosen, rejected))

    def finish(self, prepared: Prepared, encodings: list[Encoding], split: str) -> Iterator[FinishedRow]:
        prompt_ids, with_chosen, with_rejected = (encoding.ids for encoding in encodings)
        # As in TRL: the answers begin where the prompt and both sequences part, which is not always after the prompt.
        shared = min(shared_length(prompt_ids, with_chosen), shared_length(prompt_ids, with_rejected))
        chosen, rejected = with_chosen[shared:], with_rejected[shared:]
        if not chosen or not rejected:
            raise ValueError("its chosen or rejected answer has no token of its own after the prompt")
        prompt, chosen, rejected, cut = self.shortened(prompt_ids[:shared], chosen, rejected)
        columns = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        if split == "test":
            texts = dict(zip(("prompt", "chosen", "rejected"), prepared.details, strict=True))
            columns |= {**texts, "reference": texts["chosen"]}
        yield counted_pair(columns, cut)

    def shortened(
        self, prompt: list[int], chosen: list[int], rejected: list[int]
    ) -> tuple[list[int], list[int], list[int], int]:
        """Apply max_prompt_length, then max_length; return the three parts and the number of tokens cut.

        The two sequences of a pair share one prompt. keep_start cuts the ends of the answers, as TRL does; keep_end
        first shortens the prompt at its start, by what the longer answer needs, and then the answers at theirs.
        """
        before = len(prompt) + len(chosen) + len(rejected)
        section = self.section
        if section.max_prompt_length is not None:
            prompt = prompt[-section.max_prompt_length :]
        longest = max(len(chosen), len(rejected))
        limit = section.max_length
        if len(prompt) + longest > limit:
            if not section.truncation:
                raise Dropped("longer_than_max_length")
            if section.truncation_mode == "keep_start":
                if len(prompt) >= limit:
                    raise Dropped("prompt_fills_max_length")
                chosen, rejected = chosen[: limit - len(prompt)], rejected[: limit - len(prompt)]
            else:
                prompt = prompt[max(0, len(prompt) + longest - limit) :]
                chosen, rejected = chosen[-limit:], rejected[-limit:]
        return prompt, chosen, rejected, before - len(prompt) - len(chosen) - len(rejected)


def counted_pair(columns: dict[str, Any], cut: int = 0) -> FinishedRow:
    """Return the row of a pair with its counts: two sequences, each with the prompt, trained on in their answers."""
    shorter, longer = sorted((len(columns["chosen_ids"]), len(columns["rejected_ids"])))
    prompt = len(columns["prompt_ids"])
    return FinishedRow(columns, prompt + longer, shorter + longer, cut, prompt + shorter)


def with_prompt(record: dict[str, Any]) -> dict[str, Any]:
    """Return a pair with its prompt; without one, it is what chosen and rejected share at their start.

    The rule of TRL's `extract_prompt`, with its care for a space before plain answers.
    """
    if record.get("prompt") is not None:
        return record
    chosen, rejected = record["chosen"], record["rejected"]
    if chosen == rejected:
        raise ValueError("its chosen and rejected are equal and there is no prompt, so the prompt cannot be told")
    pairs = enumerate(zip(chosen, rejected, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), None)
    if at is None:  # one is the beginning of the other
        at = min(len(chosen), len(rejected)) - 1
    elif at and chosen[at - 1] == " ":
        at -= 1
    return {**record, "prompt": chosen[:at], "chosen": chosen[at:], "rejected": rejected[at:]}


def up_to_turn(prompt: str) -> str:
    """Return a shared text up to the last line that lets the assistant speak; all of it when it has none."""
    ends = [found.end() for found in SPEAKER.finditer(prompt)]
    return prompt[: ends[-1]] if ends else prompt


def shared_length(ids: list[int], others: list[int]) -> int:
    """Return how many leading tokens two sequences have in common."""
    if others[: len(ids)] == ids:
        return len(ids)
    pairs = enumerate(zip(ids, others, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(ids), len(others)))
