"""Render chats with a tokenizer's Jinja chat template: the text that `apply_chat_template` makes, many times faster.

Transformers' own compiled template is used; what is skipped for plain messages (role and content, both text) is the
copying and checking of each message that it does for richer ones. A test compares the two.
"""

import re
from datetime import datetime
from functools import cached_property
from pathlib import Path

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import (
    _alias_reasoning_fields,
    _compile_jinja_template,
    _plain_template_data,
)

from heirloom.config.parsing.template_syntax import read_template
from heirloom.data.chats.message_forms import Message, is_plain
from heirloom.data.chats.traced_templates import PROMPTED, Trace, TracedTemplate
from heirloom.errors import HeirloomError

# Some templates write today's date (Llama 3.1: "Today Date: 26 Jul 2024"). The same inputs must give the same bytes
# on every day, so the date is fixed to the one that Llama's template itself falls back to.
TEMPLATE_DATE = datetime(2024, 7, 26)
QUESTION = "?"  # of a chat that any template writes
ALONE = ([{"role": "user", "content": QUESTION}], [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}])


def template_date(form: str) -> str:
    """Stand in for the `strftime_now` of chat templates."""
    return TEMPLATE_DATE.strftime(form)


class ChatTemplate:
    """A compiled chat template with a tokenizer's special tokens; `owner` is whose it is, for errors."""

    def __init__(self, source: str, special_tokens: dict[str, str], owner: object = "the dataset"):
        self.source = source
        self.variables = {"documents": None, **special_tokens}  # the same for every chat
        try:
            self.compiled = _compile_jinja_template(source)
        except TemplateError as error:
            raise HeirloomError(f"{owner}: its chat template is not valid Jinja: {error}") from None
        self.compiled.environment.globals["strftime_now"] = template_date
        # a plain dict is read several times faster than the chain of two that Jinja keeps, at every rendering
        self.compiled.globals = dict(self.compiled.globals)
        # `{% generation %}` marks what the model writes
        self.marks_generation = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None

    @cached_property
    def traced(self) -> TracedTemplate:
        """The template compiled so that it tells which message writes what."""
        return TracedTemplate(self.compiled, self.source, self.variables)

    @cached_property
    def constant_prompt(self) -> str | None:
        """The generation prompt where it is the same after any chat; None where it depends on the chat."""
        if not self.traced.prompt_is_constant:
            return None
        for chat in ALONE:
            try:
                trace = self.trace(chat, True)
            except (TemplateError, TypeError):
                continue
            if trace.written:
                return trace.text[trace.tail :]
        return None

    def reads(self, name: str) -> bool:
        """Tell whether the template looks at a key of that name."""
        return name in self.traced.names

    def render(self, messages: list[Message], add_generation_prompt: bool = False, tools: list | None = None) -> str:
        """Return the text of a chat; raises jinja2.TemplateError where the template refuses the messages."""
        return self.compiled.render(
            **self.variables,
            messages=plain(messages),
            tools=_plain_template_data(tools),
            **{PROMPTED: add_generation_prompt},
        )

    def trace(self, messages: list[Message], add_generation_prompt: bool = False, tools: list | None = None) -> Trace:
        """Return the text of a chat and which message wrote what; raises as `render` does."""
        tools = _plain_template_data(tools) if tools else tools
        return self.traced.render(plain(messages), add_generation_prompt, tools)


def plain(messages: list[Message]) -> list[Message]:
    """Return messages as templates see them, without the keys that have no value.

    As `apply_chat_template` does: templates would write `None`, and reasoning goes by several names.
    """
    if is_plain(messages):
        return messages
    return _alias_reasoning_fields(_plain_template_data(without_nothing(messages)))


def without_nothing(messages: list[Message]) -> list[Message]:
    """Drop the keys without a value."""
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


def read_chat_template(file: str | Path) -> str:
    """Return the text of a chat template's file; raises HeirloomError when it is none."""
    try:
        return read_template(Path(file))
    except HeirloomError as error:
        raise HeirloomError(f"processing.chat_template: {error}") from None
