"""A file of prompts to answer, instead of a processed dataset: .jsonl, one object a line.

    {"prompt": "Once upon a time"}                                        goes to the model as it is
    {"messages": [{"role": "user", "content": "When?"}], "id": "q1"}      through the tokenizer's chat template

`id` (else the file's name and the line) names the row; `reference` is the answer to compare with.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from heirloom.data.chats.chat_templates import template_date
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
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
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
            ids = tokenizer(text, add_special_tokens="messages" not in row)["input_ids"]
            prompts.append(Prompt(len(prompts), row_id, text, tuple(ids), row.get("reference")))
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise HeirloomError(f"{file}: {'; '.join(problems[:SHOWN])}{more}")
    if not prompts:
        raise HeirloomError(f"{file}: holds no prompts: write one JSON object with `prompt` or `messages` a line")
    return prompts[:limit]


def read_row(line: str) -> tuple[dict[str, Any], list[str]]:
    """Return the object on a line, and what is wrong with it."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return {}, [f"is no JSON ({error})"]
    if not isinstance(row, dict):
        return {}, ['is no object; write {"prompt": "…"}']
    problems = [f"has an unknown key {key}; known are {', '.join(KEYS)}" for key in row if key not in KEYS]
    problems += [
        f"{key} is no {'list of messages' if kind is list else 'text'}"
        for key, kind in KEYS.items()
        if key in row and not isinstance(row[key], kind)
    ]
    if ("prompt" in row) == ("messages" in row):
        problems.append("needs `prompt` or `messages`, one of the two")
    return row, problems


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
