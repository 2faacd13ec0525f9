"""What the tests of chats share: read a chat with a template's text and show what is trained on between ⟦ and ⟧."""

import importlib.util
import re
from pathlib import Path

from heirloom.data.chats.chat_templates import ChatTemplate
from heirloom.data.chats.message_forms import normal_messages, normal_tools
from heirloom.data.chats.turns import Reading, TurnFinder

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
# what looks like a token that models end turns with
ADDED = re.compile(
    r"<[|｜][^<>]*?[|｜]>|<[a-z_]+\|>|<\|[a-z_]+>|</?s>|<end_of_utterance>|<(?:start|end)_of_turn>|</?think>|</?tool_call>"
)
# TRL's templates, of which those named `…_training` mark what is trained on; found without importing TRL
TRL_TEMPLATES = Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"

WEATHER = {"name": "weather", "arguments": {"city": "Rome"}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "tells it",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}},
        },
    }
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **keys):
    return {"role": "assistant", "content": text, **keys}


def calling(*functions, **keys):
    """Return an assistant message that calls functions, in OpenAI's form."""
    calls = [{"type": "function", "function": function} for function in functions or [WEATHER]]
    return {"role": "assistant", "content": "", "tool_calls": calls, **keys}


def tool(text="sunny"):
    return {"role": "tool", "content": text, "name": "weather"}


CALLED = [user("Weather?"), calling(), tool(), assistant("It is sunny")]


def trl_template(name: str) -> str:
    return (TRL_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def finder_of(source: str) -> TurnFinder:
    return TurnFinder(ChatTemplate(source, TOKENS), sorted({*ADDED.findall(source), *TOKENS.values()}))


def read(source: str, messages, tools=None, prompted=False) -> Reading:
    return finder_of(source).read(normal_messages(messages), prompted, normal_tools(tools))


def spans_of(reading: Reading) -> list[tuple[int, int]]:
    return [span for turn in reading.turns for span in turn.spans]


def bracketed(text, spans) -> str:
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], "⟦", text[start:end], "⟧"]
        at = end
    return "".join([*parts, text[at:]])


def trained(source: str, messages, tools=None) -> list[str]:
    """Return the texts that are trained on."""
    reading = read(source, messages, tools)
    return [reading.text[start:end] for start, end in spans_of(reading)]
