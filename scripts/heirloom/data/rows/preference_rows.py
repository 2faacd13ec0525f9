"""Rows of preference pairs: the token ids that TRL's DPOTrainer would make, made before any GPU is paid for."""

from collections.abc import Iterator
from typing import Any

from tokenizers import Encoding

from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.chats.chat_templates import ChatTemplate
from heirloom.data.chats.message_forms import as_json
from heirloom.data.chats.turns import TurnFinder
from heirloom.data.rows.chat_rows import is_empty
from heirloom.data.rows.preference_pairs import Pair, Part, ends_with_speaker, pair_of, up_to_turn
from heirloom.data.rows.prompt_keys import prompt_key
from heirloom.data.rows.rows import FinishedRow, Prepared
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.rows.truncation import Dropped
from heirloom.errors import HeirloomError

NOTHING_TO_PREFER = "nothing_to_prefer"


class PreferenceRows:
    """Makes prompt_ids, chosen_ids and rejected_ids; for the test split also their texts."""

    needs = ("chosen", "rejected")

    def __init__(
        self,
        section: ProcessingSection,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        tool_template: ChatTemplate | None = None,
    ):
        """`tool_template`: for the rows with tools, where the tokenizer has one of their own."""
        self.section, self.tokenizer = section, tokenizer
        self.finder = TurnFinder(template, tokenizer.added_tokens) if template else None
        self.tool_finder = TurnFinder(tool_template, tokenizer.added_tokens) if tool_template else self.finder

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
        pair = pair_of(record)
        if says_nothing(pair, pair.chosen) or says_nothing(pair, pair.rejected):
            raise ValueError("its chosen or rejected answer is empty, so there is nothing to prefer")
        if pair.same:
            raise Dropped(NOTHING_TO_PREFER)
        if isinstance(pair.prompt, str):
            return self.prepare_plain(pair, split)
        if self.finder is None:
            raise HeirloomError("the preference pairs are chats: name a chat template in processing.chat_template")
        finder = self.tool_finder if pair.tools else self.finder
        chosen, rejected = (
            finder.read(pair.prompt + answer, False, pair.tools, locate=False)
            for answer in (pair.chosen, pair.rejected)
        )
        prompt = finder.prompt(pair.prompt, pair.tools, chosen.form)
        shown = (prompt, text_of(pair.chosen), text_of(pair.rejected))
        return Prepared([prompt, chosen.text, rejected.text], False, shown)

    def prepare_plain(self, pair: Pair, split: str) -> Prepared:
        """Prepare a pair of plain texts, which are closed by the end-of-sequence token."""
        eos = self.tokenizer.eos_token
        if eos is None:
            raise HeirloomError(f"{self.tokenizer.folder}: the tokenizer has no eos_token, which has to close answers")
        prompt, chosen, rejected = pair.prompt, pair.chosen, pair.rejected
        if split == "test" and pair.implicit:  # a prompt to answer ends where a turn ends, not inside of the answers
            prompt = up_to_turn(pair.prompt)
            chosen, rejected = (pair.prompt[len(prompt) :] + answer for answer in (chosen, rejected))
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
        if chosen == rejected:  # as the template writes them, or as far as max_length lets them
            raise Dropped(NOTHING_TO_PREFER)
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


def says_nothing(pair: Pair, answer: Part) -> bool:
    """Tell whether an answer is empty: a blank text, or messages that end in an empty one.

    Of texts that share their prompt, one that ends where the assistant begins to speak (`Assistant:`).
    """
    if not isinstance(answer, str):
        return not answer or is_empty(answer[-1])
    if not pair.implicit:
        return not answer.strip()
    return not answer or ends_with_speaker(pair.prompt + answer)


def text_of(answer: Part) -> str:
    """Return what an answer of messages says last, as text; its calls as JSON."""
    message = answer[-1]
    calls = [as_json(call["function"]) for call in message.get("tool_calls", [])]
    return "\n".join(part for part in (message.get("content") or "", *calls) if part)


def shared_length(ids: list[int], others: list[int]) -> int:
    """Return how many leading tokens two sequences have in common."""
    if others[: len(ids)] == ids:
        return len(ids)
    pairs = enumerate(zip(ids, others, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(ids), len(others)))
