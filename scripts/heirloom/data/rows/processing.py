"""Processing functions: what a raw row says, as a text, a source and a target, a chat or a preference pair.

A processing function takes one raw row, a dict, and returns one record:

    kind text         {"text": str}
    kind seq2seq      {"source": str, "target": str}
    kind chat         {"messages": [{"role": str, "content": str}, ...], optionally "tools": list}
    kind preference   {"prompt": …, "chosen": …, "rejected": …}, each a str or each a list of messages; without
                      "prompt", what chosen and rejected share at their start is the prompt

Your own function, `module:function` in a dataset's config, has the same contract. Raise ValueError for a row that
cannot be used: the row is reported with its file and number. Return None to leave a row out: it is counted.
"""

from collections.abc import Callable
from typing import Any

from heirloom.config.sections.processing import KIND_NAMES, PROCESSING_FUNCTIONS
from heirloom.errors import HeirloomError
from heirloom.user_functions import load_user_function

Record = dict[str, Any]
ProcessingFunction = Callable[[Record], Record | None]

# The roles of ShareGPT's `from`, and of datasets in its style, as chat templates call them.
SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bing": "assistant"}
SHAREGPT_ROLES |= {"chatgpt": "assistant", "bard": "assistant", "model": "assistant", "system": "system"}
SHAREGPT_ROLES |= {"function_call": "assistant", "observation": "tool", "tool": "tool", "function_response": "tool"}


def plain_text_processing_function(row: Record, column: str = "text") -> Record:
    """Plain text in `column` (processing.dataset_text_field), for pre-training."""
    return {"text": text_in(row, column)}


def seq2seq_processing_function(row: Record) -> Record:
    """Texts in columns `source` and `target`, for encoder-decoder models: to translate, to summarize, to answer."""
    return {"source": text_in(row, "source"), "target": text_in(row, "target")}


def dummy_processing_function(row: Record) -> Record:
    """A chat in column `messages`, taken as it is; `tools`, if any, go to the chat template."""
    record: Record = {"messages": messages_in(row, "messages")}
    if row.get("tools"):
        record["tools"] = row["tools"]
    return record


def dummy_rlhf_processing_function(row: Record) -> Record:
    """A preference pair in columns `chosen` and `rejected`, with `prompt` or with the prompt at the start of both."""
    columns = ["prompt", "chosen", "rejected"] if row.get("prompt") is not None else ["chosen", "rejected"]
    plain = [isinstance(row.get(column), str) for column in columns]
    if any(plain) and not all(plain):
        raise ValueError(f"{', '.join(columns)} must be all texts or all lists of messages")
    return {column: text_in(row, column) if all(plain) else messages_in(row, column) for column in columns}


def instruction_processing_function(row: Record) -> Record:
    """Columns `instruction`, `output` and perhaps `input`, `system` and `history` (pairs), as in Alpaca, as a chat."""
    question = "\n".join(part for part in (text_in(row, "instruction"), row.get("input") or "") if part)
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for asked, answered in row.get("history") or []:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": text_in(row, "output")}]
    return {"messages": messages}


def sharegpt_processing_function(row: Record) -> Record:
    """A chat in column `conversations`, a list of {"from", "value"}, perhaps with a column `system`."""
    return {"messages": sharegpt_prompt(row)}


def sharegpt_rlhf_processing_function(row: Record) -> Record:
    """A preference pair in ShareGPT's style: `conversations`, then one more turn in `chosen` and in `rejected`."""
    answers = {column: row.get(column) for column in ("chosen", "rejected")}
    turns = {column: [answer] if isinstance(answer, dict) else answer for column, answer in answers.items()}
    return {"prompt": sharegpt_prompt(row)} | {
        column: sharegpt_messages(answer, column) for column, answer in turns.items()
    }


def sharegpt_prompt(row: Record) -> list[Record]:
    """Return the turns of `conversations` as messages, after the system message if there is one."""
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    return system + sharegpt_messages(row.get("conversations"), "conversations")


def sharegpt_messages(turns: Any, column: str) -> list[Record]:
    """Turn ShareGPT's turns into messages; raises ValueError for an unknown speaker or a turn without text."""
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"column {column!r} must be a list of turns, found {described(turns)}")
    messages = []
    for turn in turns:
        speaker, value = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if speaker not in SHAREGPT_ROLES:
            raise ValueError(f"a turn of {column!r} is from {speaker!r}; known are {', '.join(SHAREGPT_ROLES)}")
        if not isinstance(value, str):
            raise ValueError(f"a turn of {column!r} has no text in 'value', found {described(value)}")
        messages.append({"role": SHAREGPT_ROLES[speaker], "content": value})
    return messages


def text_in(row: Record, column: str) -> str:
    """Return a column that must be text; raises ValueError when it is missing or something else."""
    value = row.get(column)
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} must be text, found {described(value)}; columns: {', '.join(row)}")
    return value


def messages_in(row: Record, column: str) -> list[Record]:
    """Return a column that must be a list of messages; raises ValueError when it is something else."""
    messages = row.get(column)
    if not isinstance(messages, list) or not messages:
        raise ValueError(
            f"column {column!r} must be a list of messages, found {described(messages)}; columns: {', '.join(row)}"
        )
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError(f"a message of {column!r} has no role, found {described(message)}")
        if not isinstance(message.get("content"), str | list) and not message.get("tool_calls"):
            raise ValueError(f"a message of {column!r} has no content, found {described(message.get('content'))}")
    return messages


def described(value: Any) -> str:
    """Name what was found instead of what a column should hold."""
    return "nothing" if value is None else f"an empty {type(value).__name__}" if not value else type(value).__name__


def find_processing_function(name: str, kind: str | None = None) -> tuple[ProcessingFunction, str]:
    """Return the processing function that `name` means and the kind of record that it makes.

    `module:function` is found from the project's root or in scripts/, and its file then counts as code of the stage.
    Raises HeirloomError when there is no such function.
    """
    if ":" in name:
        if kind is None:
            raise HeirloomError(f"processing_function {name}: say what it makes with kind: {KIND_NAMES}")
        return load_user_function(name, "processing_function"), kind
    if name not in PROCESSING_FUNCTIONS:
        raise HeirloomError(
            f"processing_function {name}: there is none of that name; known are {', '.join(PROCESSING_FUNCTIONS)}, "
            "or module:function of your own"
        )
    return globals()[name], PROCESSING_FUNCTIONS[name]
