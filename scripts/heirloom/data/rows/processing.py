"""Processing functions: what a raw row says, as a text, a source and a target, a chat or a preference pair.

A processing function takes one raw row, a dict, and returns one record:

    kind text         {"text": str}
    kind seq2seq      {"source": str, "target": str}
    kind chat         {"messages": [{"role": str, "content": str}, ...], optionally "tools": list}
    kind preference   {"prompt": …, "chosen": …, "rejected": …}, each a str or each a list of messages, optionally
                      "tools"; without "prompt", what chosen and rejected share at their start is the prompt
    kind labelled     {"prompt": …, "completion": …, "label": bool}, texts or lists of messages, optionally "tools"

Messages, calls and tools may have any of the forms that heirloom.data.chats.message_forms knows.

Your own function, `module:function` in a dataset's config, has the same contract. Raise ValueError for a row that
cannot be used: the row is reported with its file and number. Return None to leave a row out: it is counted.
"""

from collections.abc import Callable
from typing import Any

from heirloom.config.sections.processing import PROCESSING_FUNCTIONS
from heirloom.config.sections.row_kinds import KIND_NAMES
from heirloom.data.chats.message_forms import described, read_json
from heirloom.errors import HeirloomError
from heirloom.user_functions import load_user_function

Record = dict[str, Any]
ProcessingFunction = Callable[[Record], Record | None]

# The roles of ShareGPT's `from`, and of datasets in its style, as chat templates call them.
SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bing": "assistant"}
SHAREGPT_ROLES |= {"chatgpt": "assistant", "bard": "assistant", "model": "assistant", "system": "system"}
SHAREGPT_ROLES |= {"function_call": "assistant", "observation": "tool", "tool": "tool", "function_response": "tool"}
SHAREGPT_KEYS = {"from", "role", "value", "content"}


def plain_text_processing_function(row: Record, column: str = "text") -> Record:
    """Plain text in `column` (processing.dataset_text_field), for pre-training."""
    return {"text": text_in(row, column)}


def seq2seq_processing_function(row: Record) -> Record:
    """Texts in columns `source` and `target`, for encoder-decoder models: to translate, to summarize, to answer."""
    return {"source": text_in(row, "source"), "target": text_in(row, "target")}


def dummy_processing_function(row: Record) -> Record:
    """A chat in column `messages`, taken as it is; `tools` (or OpenAI's former `functions`) go to the chat template."""
    return {"messages": messages_in(row, "messages")} | tools_in(row)


def dummy_rlhf_processing_function(row: Record) -> Record:
    """A preference pair in columns `chosen` and `rejected`, with `prompt` or with the prompt at the start of both.

    LLaMA-Factory's names do as well: `instruction` with `input`, `system` and `history` as the prompt, or whole
    conversations in `chosen_messages` and `rejected_messages`.
    """
    answers = {column: first_of(row, (column, f"{column}_messages")) for column in ("chosen", "rejected")}
    plain = {isinstance(answer, str) for answer in answers.values()}
    if plain == {True, False} or None in answers.values():
        raise ValueError("chosen, rejected must be all texts or all lists of messages")
    record = {column: answer if plain == {True} else messages_in(answers, column) for column, answer in answers.items()}
    if row.get("prompt") is not None:
        record["prompt"] = row["prompt"] if isinstance(row["prompt"], str) else messages_in(row, "prompt")
    elif row.get("instruction") is not None:
        record["prompt"] = instruction_prompt(row)
    return record | tools_in(row)


def instruction_processing_function(row: Record) -> Record:
    """Columns `instruction`, `output` and perhaps `input`, `system` and `history` (pairs), as in Alpaca, as a chat."""
    answer = {"role": "assistant", "content": text_in(row, "output")}
    return {"messages": [*instruction_prompt(row), answer]} | tools_in(row)


def instruction_prompt(row: Record) -> list[Record]:
    """Return what comes before the answer of a row in Alpaca's style; raises ValueError for what is no text."""
    question = "\n".join(part for part in (text_in(row, "instruction"), optional_text_in(row, "input")) if part)
    messages = system_message(row)
    for turn in row.get("history") or []:
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise ValueError(f"column 'history' must be pairs of a question and an answer, found {described(turn)}")
        pair = {"history": turn[0], "answer of history": turn[1]}
        messages.append({"role": "user", "content": text_in(pair, "history")})
        messages.append({"role": "assistant", "content": optional_text_in(pair, "answer of history")})
    return [*messages, {"role": "user", "content": question}]


def prompt_completion_processing_function(row: Record) -> Record | None:
    """An answer in columns `prompt` and `completion`, each a text or a list of messages, or a chat in `messages`.

    With a column `label`, which says whether somebody judged the answer good (KTO), the others are left out: what is
    learned from a single answer here is to give it.
    """
    if "label" in row and not judged_good(row["label"]):
        return None
    if row.get("messages") is not None:
        return dummy_processing_function(row)
    return {"messages": turns_in(row, "prompt", "user") + turns_in(row, "completion", "assistant")} | tools_in(row)


def labelled_processing_function(row: Record) -> Record:
    """A judged answer (KTO): `label` beside `prompt` and `completion`, texts or messages, or beside `messages`.

    LLaMA-Factory's forms do as well: `kto_tag` for `label`, `conversations`, or `instruction` with `output`.
    """
    label = judged_good(first_of(row, ("label", "kto_tag")))
    if row.get("completion") is not None:
        parts = {column: row.get(column) for column in ("prompt", "completion")}
        if not all(isinstance(part, str) for part in parts.values()):
            parts = {"prompt": turns_in(row, "prompt", "user"), "completion": turns_in(row, "completion", "assistant")}
        return {**parts, "label": label} | tools_in(row)
    if row.get("conversations") is not None:
        messages = sharegpt_prompt(row)
    elif row.get("instruction") is not None:
        messages = instruction_processing_function(row)["messages"]
    else:
        messages = messages_in(row, "messages")
    return {"prompt": messages[:-1], "completion": messages[-1:], "label": label} | tools_in(row)


def judged_good(label: Any) -> bool:
    """Return what KTO's label says: true or false, perhaps as 1 or 0 or as a CSV has them; else raises ValueError."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    if str(label).lower() not in words:
        raise ValueError(f"column 'label' must be true or false, found {described(label)}")
    return words[str(label).lower()]


def turns_in(row: Record, column: str, role: str) -> list[Record]:
    """Return a column that is a list of messages, or the text of one message of this role; else raises ValueError."""
    text = row.get(column)
    return [{"role": role, "content": text}] if isinstance(text, str) else messages_in(row, column)


def sharegpt_processing_function(row: Record) -> Record:
    """A chat in column `conversations`, a list of {"from", "value"}, perhaps with columns `system` and `tools`."""
    return {"messages": sharegpt_prompt(row)} | tools_in(row)


def sharegpt_rlhf_processing_function(row: Record) -> Record:
    """A preference pair in ShareGPT's style: `conversations`, then one more turn in `chosen` and in `rejected`.

    Without `conversations` both hold the whole conversation.
    """
    answers = {column: row.get(column) for column in ("chosen", "rejected")}
    turns = {column: [answer] if isinstance(answer, dict) else answer for column, answer in answers.items()}
    record = {column: sharegpt_messages(answer, column) for column, answer in turns.items()}
    if row.get("conversations") is None:
        system = system_message(row)
        return {column: system + messages for column, messages in record.items()} | tools_in(row)
    return {"prompt": sharegpt_prompt(row)} | record | tools_in(row)


def sharegpt_prompt(row: Record) -> list[Record]:
    """Return the turns of `conversations` as messages, after the system message if there is one."""
    turns = read_json(row.get("conversations"), "column 'conversations'")
    return system_message(row) + sharegpt_messages(turns, "conversations")


def sharegpt_messages(turns: Any, column: str) -> list[Record]:
    """Turn ShareGPT's turns into messages; raises ValueError for an unknown speaker or a turn without text.

    What a turn says besides (`weight`, `tool_calls`) stays; a turn from `function_call` is the call that its JSON says.
    """
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"column {column!r} must be a list of turns, found {described(turns)}")
    messages = []
    for turn in turns:
        named = isinstance(turn, dict)
        speaker = first_of(turn, ("from", "role")) if named else None
        value = first_of(turn, ("value", "content")) if named else None
        if speaker not in SHAREGPT_ROLES:
            raise ValueError(f"a turn of {column!r} is from {speaker!r}; known are {', '.join(SHAREGPT_ROLES)}")
        message = {key: value for key, value in turn.items() if key not in SHAREGPT_KEYS}
        message["role"] = SHAREGPT_ROLES[speaker]
        if speaker == "function_call":
            message["tool_calls"] = value
        elif isinstance(value, str) or message.get("tool_calls"):
            message["content"] = value
        else:
            raise ValueError(f"a turn of {column!r} has no text in 'value', found {described(value)}")
        messages.append(message)
    return messages


def system_message(row: Record) -> list[Record]:
    """Return the message of column `system` in a list, which is empty when there is none."""
    system = optional_text_in(row, "system")
    return [{"role": "system", "content": system}] if system else []


def tools_in(row: Record) -> Record:
    """Return the tools of a row as part of a record; nothing when it has none."""
    tools = first_of(row, ("tools", "functions"))
    return {"tools": tools} if tools else {}


def first_of(row: Record, columns: tuple[str, ...]) -> Any:
    """Return the first value that a row has in one of `columns`."""
    return next((row[column] for column in columns if row.get(column) is not None), None)


def text_in(row: Record, column: str) -> str:
    """Return a column that must be text; raises ValueError when it is missing or something else."""
    value = row.get(column)
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} must be text, found {described(value)}; columns: {', '.join(row)}")
    return value


def optional_text_in(row: Record, column: str) -> str:
    """Return a column that may be missing, as text; raises ValueError when it is something else."""
    return "" if row.get(column) is None else text_in(row, column)


def messages_in(row: Record, column: str) -> list[Record]:
    """Return a column that must be a list of messages, perhaps written as JSON; raises ValueError for something else.

    The messages themselves are made one form later, for your own functions as well.
    """
    messages = row.get(column)
    if isinstance(messages, str) and messages.lstrip().startswith("["):
        messages = read_json(messages, f"column {column!r}")
    messages = [messages] if isinstance(messages, dict) else messages
    if not isinstance(messages, list) or not messages:
        raise ValueError(
            f"column {column!r} must be a list of messages, found {described(messages)}; columns: {', '.join(row)}"
        )
    return messages


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
