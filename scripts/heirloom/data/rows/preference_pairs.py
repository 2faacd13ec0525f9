"""The forms in which datasets write preference pairs, made one: a prompt, and two answers that go on from it.

With a prompt of its own or with the prompt at the start of both answers; texts or messages; or both, as a text prompt
beside whole conversations (UltraFeedback-binarized).
"""

import re
from typing import Any, NamedTuple

from heirloom.data.chats.message_forms import ASSISTANT, Message, normal_messages, normal_tools

Part = str | list[Message]
# A line that says who speaks now, as in hh-rlhf: `Assistant:`, `### Response:`
SPEAKERS = "assistant|bot|ai|model|gpt|response|answer"
SPEAKER = re.compile(rf"(?:\A|\n)[ \t]*(?:#+[ \t]*|<\|)?(?:{SPEAKERS})(?:\|>|:)", re.IGNORECASE)


class Pair(NamedTuple):
    """A preference pair: all texts, or all lists of normal messages."""

    prompt: Part
    chosen: Part
    rejected: Part
    tools: list[Any] | None
    implicit: bool  # the prompt is what both answers shared

    @property
    def same(self) -> bool:
        """Whether both answers are equal, so that there is nothing to prefer."""
        return self.chosen == self.rejected


def pair_of(record: dict[str, Any]) -> Pair:
    """Return the pair that a record of kind preference says. Raises ValueError when it says none."""
    chosen, rejected = (answer_of(record[column], column) for column in ("chosen", "rejected"))
    prompt, tools = record.get("prompt"), normal_tools(record.get("tools"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise ValueError("chosen and rejected must be all texts or all lists of messages")
    if isinstance(prompt, list | dict) and isinstance(chosen, str):
        chosen, rejected = ([{"role": ASSISTANT, "content": answer}] for answer in (chosen, rejected))
    if isinstance(prompt, str) and not isinstance(chosen, str):
        return with_text_prompt(prompt, chosen, rejected, tools)
    if prompt is None:
        prompt, chosen, rejected = with_shared_prompt(chosen, rejected)
        return Pair(prompt, chosen, rejected, tools, True)
    prompt = answer_of(prompt, "prompt")
    return Pair(prompt, *without_repeated(prompt, chosen, rejected), tools, False)


def answer_of(value: Any, column: str) -> Part:
    """Return a text as it is and messages in their normal form; a single message is a list of one."""
    if isinstance(value, str):
        return value
    return normal_messages([value] if isinstance(value, dict) else value, column)


def with_text_prompt(prompt: str, chosen: list[Message], rejected: list[Message], tools: list[Any] | None) -> Pair:
    """Return a pair whose prompt is a text and whose answers are messages: they begin with it, or only answer it."""
    if chosen[0]["role"] == ASSISTANT and rejected[0]["role"] == ASSISTANT:
        return Pair([{"role": "user", "content": prompt}], chosen, rejected, tools, False)
    shared, chosen, rejected = with_shared_prompt(chosen, rejected)
    if not any(message.get("content", "").strip() == prompt.strip() for message in shared):
        raise ValueError("its prompt is a text that does not stand at the start of both chosen and rejected")
    return Pair(shared, chosen, rejected, tools, False)


def with_shared_prompt(chosen: Part, rejected: Part) -> tuple[Part, Part, Part]:
    """Return (prompt, chosen, rejected) of two answers that begin with their prompt: it is what they share.

    The rule of TRL's `extract_prompt`, with its care for a space before plain answers.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), None)
    if at is None:  # one is the beginning of the other
        at = max(0, min(len(chosen), len(rejected)) - 1)
    elif at and chosen[at - 1] == " ":
        at -= 1
    if not at and not isinstance(chosen, str):
        raise ValueError("it has no prompt, and chosen and rejected share no message at their start")
    return chosen[:at], chosen[at:], rejected[at:]


def without_repeated(prompt: Part, chosen: Part, rejected: Part) -> tuple[Part, Part]:
    """Return both answers without the prompt, where both repeat it at their start."""
    size = len(prompt)
    if size and all(len(answer) > size and answer[:size] == prompt for answer in (chosen, rejected)):
        return chosen[size:], rejected[size:]
    return chosen, rejected


def ends_with_speaker(text: str) -> bool:
    """Tell whether a text ends with the line that lets the assistant speak, and nothing after it."""
    text = text.rstrip()
    return any(found.end() == len(text) for found in SPEAKER.finditer(text))


def up_to_turn(prompt: str) -> str:
    """Return a shared text up to the last line that lets the assistant speak; all of it when it has none."""
    ends = [found.end() for found in SPEAKER.finditer(prompt)]
    return prompt[: ends[-1]] if ends else prompt
