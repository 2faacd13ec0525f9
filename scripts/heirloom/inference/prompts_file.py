"""A file of prompts to answer, instead of a processed dataset: .jsonl, one object a line.

    {"prompt": "Once upon a time"}                                        goes to the model as it is
    {"messages": [{"role": "user", "content": "When?"}], "id": "q1"}      through the tokenizer's chat template

`id` (else the file's name and the line) names the row; `reference` is the answer to compare with.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from heirloom.data.chats.chat_templates import template_date
from heirloom.data.raw.text_files import DEEPEST, is_deep
from heirloom.errors import HeirloomError
from heirloom.inference.prompts import Prompt

KEYS = {"prompt": str, "messages": list, "id": str, "reference": str}
SHOWN = 5
FIXED = {"strftime_now": template_date}
"""Templates that write today's date get the one that the processed datasets have."""


def read_prompts_file(file: Path, tokenizer: PreTrainedTokenizerFast, limit: int | None) -> list[Prompt]:
    """Return the prompts of a file: the first `limit`, or all. Raises HeirloomError that names every wrong line."""
    if not file.is_file():
        raise HeirloomError(f"{file}: there is no such file of prompts")
    prompts: list[Prompt] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(file.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        row, found = read_row(line)
        if not found:
            text, found = prompt_text(row, tokenizer)
        if not found:
            row_id = row.get("id", f"{file.name}:{number}")
            if row_id in seen:
                found = [f"id {row_id} is that of line {seen[row_id]} too; each needs its own"]
            seen.setdefault(row_id, number)
        if found:
            problems += [f"line {number}: {problem}" for problem in found]
        else:
            # a chat template writes the special tokens itself
            ids = prompt_ids(text, tokenizer, special="messages" not in row)
            prompts.append(Prompt(len(prompts), row_id, text, tuple(ids), row.get("reference")))
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise HeirloomError(f"{file}: {'; '.join(problems[:SHOWN])}{more}")
    if not prompts:
        raise HeirloomError(f"{file}: holds no prompts: write one JSON object with `prompt` or `messages` a line")
    return prompts[:limit]


def prompt_ids(text: str, tokenizer: PreTrainedTokenizerFast, *, special: bool) -> list[int]:
    """Return the tokens of a prompt; `special`: with those that the tokenizer puts around a text.

    A text that begins with the token that begins texts, as one from a chat template does, gets no second one.
    """
    ids = tokenizer(text, add_special_tokens=special)["input_ids"]
    first = tokenizer.bos_token_id
    return ids[1:] if first is not None and ids[:2] == [first, first] else ids


def read_row(line: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the object on a line, without keys that are null, and what is wrong with it."""
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return {}, [
            f"is no UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x}); save the file with that encoding"
        ]
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        return {}, [f"is no JSON ({error})"]
    if not isinstance(row, dict):
        return {}, ['is no object; write {"prompt": "…"}']
    if is_deep(row):
        return {}, [f"is nested too deep: more than {DEEPEST} levels"]
    row = {key: value for key, value in row.items() if value is not None}
    if half := half_characters(row):
        return {}, [f"{half} holds half a character (a lone surrogate such as \\ud83d); write the text whole"]
    problems = [f"has an unknown key {key}; known are {', '.join(KEYS)}" for key in row if key not in KEYS]
    problems += [
        f"{key} is no {'list of messages' if kind is list else 'text'}"
        for key, kind in KEYS.items()
        if key in row and not isinstance(row[key], kind)
    ]
    if ("prompt" in row) == ("messages" in row):
        problems.append("needs `prompt` or `messages`, one of the two")
    return row, problems


def half_characters(row: dict[str, Any]) -> str | None:
    """Return the key whose text holds a lone surrogate, which no UTF-8 and no tokenizer has; None when none does."""
    for key, value in row.items():
        try:
            json.dumps([key, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return key.encode(errors="replace").decode()
    return None


def prompt_text(row: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> tuple[str, list[str]]:
    """Return the text that the model gets, and what is wrong with it."""
    problems = list(empty_parts(row))
    if problems or "prompt" in row:
        return row.get("prompt", ""), problems
    if tokenizer.chat_template is None:
        return "", ["has messages, and the checkpoint's tokenizer has no chat template; give `prompt`"]
    try:
        return tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True, **FIXED), []
    except (TemplateError, TypeError, ValueError) as error:
        return "", [f"the chat template refuses the messages: {error}"]


def empty_parts(row: dict[str, Any]) -> Iterator[str]:
    """Yield what a prompt or its messages lack."""
    if row.get("prompt", "?") == "":
        yield "the prompt is empty"
    for position, message in enumerate(row.get("messages", ["?"])):
        if message != "?" and not (isinstance(message, dict) and {"role", "content"} <= message.keys()):
            yield f"message {position + 1} needs `role` and `content`"
    if row.get("messages") == []:
        yield "there are no messages"
