"""The forms in which datasets write messages, tool calls and tools, made one.

Of a chat comes what OpenAI's chat format has: a message has `role` and a text `content`, a call is
{"type": "function", "function": {"name", "arguments": an object}}, a tool {"type": "function", "function": {…}}.
A call that the row writes bare, {"name", "arguments"}, has no `type` here: a template gets it bare if it can take it.
Templates differ in what they take; `Form` says how a message is written for one of them.
"""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from transformers.utils.chat_template_utils import get_json_schema

Message = dict[str, Any]
ASSISTANT = "assistant"
REASONING = ("reasoning_content", "reasoning", "thinking")
# Keys with which a message says whether it is to be trained on: OpenAI, LLaMA-Factory, ms-swift, verl, axolotl.
FLAGS = ("weight", "loss_weight", "loss", "loss_mask", "trainable", "train", "training")
PARTIAL_FLAGS = ("train_detail", "training_detail")  # axolotl's: pieces of a message
ABSENT, NOTHING, EMPTY = "absent", "none", "empty"


class Form(NamedTuple):
    """How a template wants its messages."""

    missing: str = ABSENT  # the content of a message that only calls tools
    arguments_as_text: bool = False
    complete: bool = True  # calls have all their keys, whatever the row's have
    parts: bool = False  # contents as [{"type": "text", "text": …}]

    def apply(self, messages: list[Message]) -> list[Message]:
        """Return normal messages in this form."""
        return [self.applied(message) if self.parts or "tool_calls" in message else message for message in messages]

    def applied(self, message: Message) -> Message:
        message = dict(message)
        content = message.get("content")
        if content is None and message.get("tool_calls"):
            message |= {ABSENT: {}, NOTHING: {"content": None}, EMPTY: {"content": ""}}[self.missing]
        if self.parts and isinstance(message.get("content"), str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        if "tool_calls" in message:
            message["tool_calls"] = list(map(self.applied_to_call, message["tool_calls"]))
        return message

    def applied_to_call(self, call: Message) -> Message:
        """Return a normal call in this form: as the row has it, or with all its keys."""
        function = {**({"arguments": {}} if self.complete else {}), **call["function"]}
        if self.arguments_as_text and "arguments" in function:
            function["arguments"] = as_json(function["arguments"])
        if self.complete:
            return {"type": "function", **call, "function": function}
        return {**call, "function": function} if "type" in call else {**without(call, "function"), **function}


def forms_of(messages: list[Message]) -> Iterator[Form]:
    """Yield the forms that messages can be given in, the most usual one first."""
    calling = [message for message in messages if message.get("tool_calls")]
    calls = [call for message in calling for call in message["tool_calls"]]
    missing = (ABSENT, NOTHING, EMPTY) if any(message.get("content") is None for message in calling) else (ABSENT,)
    given = all("type" in call and "arguments" in call["function"] for call in calls)
    as_texts = (False, True) if calls else (False,)
    for parts, text, complete, content in product(
        (False, True), as_texts, (True,) if given else (False, True), missing
    ):
        yield Form(content, text, complete, parts)


def is_complete(call: Message) -> bool:
    """Tell whether a normal call has all keys that a call can have."""
    return "type" in call and "arguments" in call["function"]


def arguments_of(call: Message) -> dict[str, Any]:
    """Return the arguments of a normal call; empty where it gives none."""
    return call["function"].get("arguments", {})


def normal_messages(messages: Any, column: str = "messages") -> list[Message]:
    """Return messages in their normal form, without flags; raises ValueError for one that has none.

    A content in parts becomes the text of its parts, `function_call` a tool call, a part that holds reasoning or a
    call what it says.
    """
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{column!r} must be a list of messages, found {described(messages)}")
    if is_plain(messages):
        return PlainMessages(messages)
    return [normal_message(message, number, column) for number, message in enumerate(messages, 1)]


class PlainMessages(list):
    """Messages of which every one has a role and a content, both text, and nothing else: looked through once."""


def is_plain(messages: list[Any]) -> bool:
    """Tell whether every message has a role and a content, both text, and nothing else."""
    if type(messages) is PlainMessages:
        return True
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return False
        if type(message.get("role")) is not str or type(message.get("content")) is not str:
            return False
    return True


def normal_message(message: Any, number: int, column: str) -> Message:
    """Return one message in its normal form."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f"a message of {column!r} has no role, found {described(message)}")
    if len(message) == 2 and type(message.get("content")) is str:
        return message
    where = f"message {number} of {column!r}"
    normal = {key: value for key, value in message.items() if value is not None and key not in FLAGS}
    if normal["role"] == "function":
        normal["role"] = "tool"
    calls = normal_calls(normal.pop("tool_calls", None), where) + normal_calls(normal.pop("function_call", None), where)
    content = normal.get("content")
    if isinstance(content, list | dict):
        if normal["role"] == "tool" and not are_parts(content):
            normal["content"] = as_json(content)  # what a tool gave is data, written as JSON
        else:
            texts, reasoning, called = read_parts(content, where)
            calls = called + calls
            normal["content"] = "".join(texts)
            if reasoning:
                normal["reasoning_content"] = "".join(reasoning)
            if not texts and (calls or reasoning):
                del normal["content"]
    elif content is not None and not isinstance(content, str):
        raise ValueError(f"{where} has no text as content, found {described(content)}")
    if calls:
        normal["tool_calls"] = calls
    if normal.get("content") is None and not calls:
        if not (normal["role"] == ASSISTANT and reasoning_of(normal)):
            raise ValueError(f"a message of {column!r} has no content, found {described(message.get('content'))}")
        normal["content"] = ""
    return normal


def are_parts(content: Any) -> bool:
    """Tell whether a content is a list of parts."""
    return isinstance(content, list) and all(
        isinstance(part, str) or (isinstance(part, dict) and isinstance(part.get("type"), str)) for part in content
    )


def read_parts(content: Any, where: str) -> tuple[list[str], list[str], list[Message]]:
    """Return the texts, the reasoning and the calls of a content in parts; raises ValueError for other parts."""
    texts, reasoning, calls = [], [], []
    for part in content if isinstance(content, list) else [content]:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        kind = part.get("type") if isinstance(part, dict) else None
        text = (
            next((part[key] for key in ("text", "value", kind) if isinstance(part.get(key), str)), None)
            if kind
            else None
        )
        if kind == "text" and text is not None:
            texts.append(text)
        elif kind in ("reasoning", "thinking") and text is not None:
            reasoning.append(text)
        elif kind == "tool_call":
            calls += normal_calls(text if text is not None else part.get("tool_call") or without(part, "type"), where)
        else:
            raise ValueError(
                f"{where} has a part of its content that is no text but {kind or described(part)}: only text can be "
                "trained on"
            )
    return texts, reasoning, calls


def without(value: Message, left_out: str) -> Message:
    """Return an object without one of its keys."""
    return {key: item for key, item in value.items() if key != left_out}


def normal_calls(value: Any, where: str) -> list[Message]:
    """Return tool calls in their normal form: JSON texts are read, names and arguments stand in `function`.

    Raises ValueError for what is no call.
    """
    value = read_json(value, f"{where}: its tool calls")
    calls = []
    for call in value if isinstance(value, list) else [value] if value else []:
        call = read_json(call, f"{where}: a tool call")
        function = call.get("function") if isinstance(call, dict) and isinstance(call.get("function"), dict) else call
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError(f"{where} has a tool call without a name, found {described(call)}")
        others = {key: call[key] for key in ("id", "type") if call.get(key) is not None and call is not function}
        others |= {"id": function["id"]} if call is function and function.get("id") is not None else {}
        calls.append({**others, "function": {"name": function["name"], **normal_arguments(function, where)}})
    return calls


def normal_arguments(function: Message, where: str) -> Message:
    """Return {"arguments": …} of a called function, empty without arguments; raises ValueError for no object."""
    given = next((function[key] for key in ("arguments", "parameters") if function.get(key) is not None), None)
    if given is None:
        return {}
    what = f"{where}: the arguments of its call of {function['name']!r}"
    arguments = read_json(given, what) or {}
    if not isinstance(arguments, dict):
        raise ValueError(f"{what} must be an object, found {described(arguments)}")
    return {"arguments": arguments}


def normal_tools(value: Any) -> list[Any] | None:
    """Return tools in their normal form, None for none; raises ValueError for what is no tool.

    A JSON text is read, a function's schema stands in `function`, a Python function gives its own.
    """
    if value is None:
        return None
    value = read_json(value, "'tools'")
    tools = [normal_tool(tool) for tool in (value if isinstance(value, list | tuple) else [value] if value else [])]
    return tools or None


def normal_tool(tool: Any) -> Any:
    """Return one tool in its normal form."""
    if callable(tool):
        return get_json_schema(tool)
    tool = read_json(tool, "a tool of 'tools'")
    if not isinstance(tool, dict):
        raise ValueError(f"a tool of 'tools' must be an object with a name, found {described(tool)}")
    function = read_json(tool.get("function"), "a tool of 'tools'")
    if isinstance(function, dict):
        return {"type": "function", **tool, "function": normal_schema(function)}
    if isinstance(tool.get("name"), str):
        return {"type": "function", "function": normal_schema(without(tool, "type"))}
    if isinstance(tool.get("type"), str):
        return tool  # a tool that is built in: nothing but its type says what it is
    raise ValueError(f"a tool of 'tools' has no name; its keys: {', '.join(map(str, tool))}")


def normal_schema(function: dict[str, Any]) -> dict[str, Any]:
    """Return what says how a function is called, with its parameters under the usual key."""
    if not isinstance(function.get("name"), str):
        raise ValueError(f"a tool of 'tools' has no name; its keys: {', '.join(map(str, function))}")
    schema = {
        "parameters" if key == "input_schema" else key: value for key, value in function.items() if value is not None
    }
    if isinstance(schema.get("parameters"), str):
        schema["parameters"] = read_json(schema["parameters"], f"the parameters of tool {schema['name']!r}")
    return schema


def tool_names(tools: list[Any]) -> list[str]:
    """Return the names of normal tools."""
    return [tool["function"]["name"] for tool in tools if isinstance(tool.get("function"), dict)]


def wanted(messages: list[Message]) -> list[bool | None]:
    """Return for each raw message whether its flags say that it is to be trained on; None when it has none.

    Raises ValueError for a flag that is neither yes nor no.
    """
    return [flag_of(message, number) if len(message) > 2 else None for number, message in enumerate(messages, 1)]


def flag_of(message: Message, number: int) -> bool | None:
    """Return what the flags of one message say."""
    for key in PARTIAL_FLAGS:
        if message.get(key):
            raise ValueError(f"message {number} has {key!r}: only whole messages can be trained on or not")
    found = {key: message[key] for key in FLAGS if message.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise ValueError(f"message {number} has {key}: {value!r}; only 0 and 1, false and true can be obeyed")
    flags = {bool(value) for value in found.values()}
    if len(flags) > 1:
        raise ValueError(f"message {number} says both yes and no to training: {found}")
    return flags.pop() if flags else None


def reasoning_of(message: Message) -> str:
    """Return the reasoning that stands beside a message's content; empty when there is none."""
    values = (message.get(key) for key in REASONING)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def read_json(value: Any, what: str) -> Any:
    """Return a value; of a text what it says as JSON, of a blank one nothing. Raises ValueError for other texts."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except RecursionError:
        raise ValueError(f"{what} must be JSON, and is nested too deep to be read") from None
    except ValueError:
        raise ValueError(f"{what} must be JSON, found the text {value[:40]!r}") from None


def as_json(value: Any) -> str:
    """Write a value as JSON, as chat templates do."""
    return json.dumps(value, ensure_ascii=False)


def described(value: Any) -> str:
    """Name what was found instead of what was expected."""
    return "nothing" if value is None else f"an empty {type(value).__name__}" if not value else type(value).__name__
