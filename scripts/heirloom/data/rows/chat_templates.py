"""Render chats with a tokenizer's Jinja chat template: the text that `apply_chat_template` makes, many times faster.

Transformers' own compiled template is used; what is skipped for plain messages (role and content, both text) is the
copying and checking of each message that it does for richer ones. A test compares the two.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import (
    _compile_jinja_template,
    _render_with_assistant_indices,
    render_jinja_template,
)

from heirloom.errors import HeirloomError

Message = dict[str, Any]

# Some templates write today's date (Llama 3.1: "Today Date: 26 Jul 2024"). The same inputs must give the same bytes
# on every day, so the date is fixed to the one that Llama's template itself falls back to.
TEMPLATE_DATE = datetime(2024, 7, 26)


def template_date(form: str) -> str:
    """Stand in for the `strftime_now` of chat templates."""
    return TEMPLATE_DATE.strftime(form)


class ChatTemplate:
    """A compiled chat template with a tokenizer's special tokens."""

    def __init__(self, source: str, special_tokens: dict[str, str]):
        self.source = source
        self.variables = dict(special_tokens)
        try:
            self.compiled = _compile_jinja_template(source)
        except TemplateError as error:
            raise HeirloomError(f"the chat template is not valid Jinja: {error}") from None
        self.compiled.environment.globals["strftime_now"] = template_date
        # a plain dict is read several times faster than the chain of two that Jinja keeps, at every rendering
        self.compiled.globals = dict(self.compiled.globals)
        # `{% generation %}` marks what the model writes
        self.marks_generation = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None

    def render(self, messages: list[Message], add_generation_prompt: bool = False, tools: list | None = None) -> str:
        """Return the text of a chat; raises jinja2.TemplateError where the template refuses the messages."""
        if tools is None and is_plain(messages):
            return self.compiled.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self.variables,
            )
        rendered, _ = render_jinja_template(
            conversations=[without_nothing(messages)],
            tools=tools,
            chat_template=self.source,
            add_generation_prompt=add_generation_prompt,
            **self.variables,
        )
        return rendered[0]

    def render_generation(
        self, messages: list[Message], add_generation_prompt: bool = False, tools: list | None = None
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a chat and the character spans that the template marks with `{% generation %}`."""
        return _render_with_assistant_indices(
            compiled_template=self.compiled,
            messages=without_nothing(messages),
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self.variables,
        )


def is_plain(messages: list[Message]) -> bool:
    """Tell whether every message has a role and a content, both text, and nothing else."""
    for message in messages:
        if len(message) != 2 or type(message.get("role")) is not str or type(message.get("content")) is not str:
            return False
    return True


def without_nothing(messages: list[Message]) -> list[Message]:
    """Drop the keys without a value, as `apply_chat_template` does: templates would write `None`."""
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


def read_chat_template(file: str | Path) -> str:
    """Return the text of a chat template file; raises HeirloomError when there is none."""
    path = Path(file)
    if not path.is_file():
        raise HeirloomError(f"chat_template: {path}: there is no such file; give a Jinja template's path")
    return path.read_text(encoding="utf-8")
