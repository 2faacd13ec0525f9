"""Find what the assistant wrote in a rendered chat, for any chat template.

A turn is what the model has to write after the generation prompt: the content with all that belongs to it (reasoning,
tool calls, ` ` in Mistral's, an empty `<think>` block), up to and including the token that ends the turn. White space
after that token belongs to nobody.

One rendering says which message wrote what (heirloom.data.chats.traced_templates). Of what an assistant message wrote,
the turn is what follows the generation prompt; or, of a template with `{% generation %}`, what that marks. Then the
text is held against the row (heirloom.data.chats.written_content): where the template leaves out what the row has, the
row is refused. Nothing is guessed, and no row's answer depends on another row.
"""

import os.path
import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import TemplateError

from heirloom.data.chats.chat_templates import ChatTemplate, Message
from heirloom.data.chats.message_forms import ASSISTANT, Form, forms_of, is_plain
from heirloom.data.chats.traced_templates import Span, Trace
from heirloom.data.chats.written_content import TemplateGap, check_tools_written, check_written

REFUSALS = (
    TemplateError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
)  # of a template for messages it cannot write
STAND_IN = "\U0010f000"  # a private-use character: no text begins with it
USUAL = Form()  # of messages: the first that is tried, and the one of a plain chat
TAG = re.compile(r"<[^<>\s]+>")


class Turn(NamedTuple):
    """What one message has to be trained on: usually one span, more where a template writes others' texts between."""

    message: int
    spans: list[Span]


class Reading(NamedTuple):
    """A chat as text, its assistant turns, and the form of the messages that the template could write."""

    text: str
    turns: list[Turn]
    form: Form

    def trained_text(self, message: int) -> str | None:
        """Return what is trained on of a message; None when that is not known."""
        texts = [self.text[start:end] for turn in self.turns if turn.message == message for start, end in turn.spans]
        return "".join(texts) or None


class TurnFinder:
    """Renders chats and locates their assistant turns."""

    def __init__(self, template: ChatTemplate, added_tokens: Sequence[str]):
        """`added_tokens`: the tokenizer's special and other added tokens, which templates end turns with."""
        self.template = template
        longest_first = sorted((token for token in added_tokens if token.strip()), key=len, reverse=True)
        tokens = "|".join(map(re.escape, longest_first)) or "(?!)"
        self.added_token = re.compile(tokens)
        self.only_tokens = re.compile(rf"(\s*({tokens}))+")
        self.tokens = tuple(longest_first)

    def read(
        self, messages: list[Message], prompted: bool = False, tools: list | None = None, locate: bool = True
    ) -> Reading:
        """Return the text of a chat of normal messages and, where they are to be located, its assistant turns.

        Tries the forms that messages can be given in until the template writes all that they have. Raises ValueError
        when it does in none, or a turn cannot be located; jinja2.TemplateError when the template refuses the chat.
        """
        if locate and not prompted and not tools and (reading := self.read_plain(messages)):
            return reading
        errors: list[Exception] = []
        for form in forms_of(messages):
            try:
                return Chat(self, messages, prompted, tools, form).read(locate)
            except (TemplateGap, *REFUSALS) as error:
                errors.append(error)
        if type(errors[0]) is TemplateError:  # what the template itself has to say
            raise errors[0]
        raise next((error for error in errors if isinstance(error, TemplateGap)), errors[0])

    def read_plain(self, messages: list[Message]) -> Reading | None:
        """Return what `read` returns, for the usual chat that needs none of its questions; None for others.

        Plain messages, each of which writes one text that holds its content, and turns that begin with a generation
        prompt that is the same after any chat.
        """
        prompt = self.template.constant_prompt
        if not prompt or self.template.marks_generation or not is_plain(messages):
            return None
        try:
            text, written, _ = self.template.trace(messages)
        except REFUSALS:
            return None
        turns = []
        end = 0
        for number, message in enumerate(messages):
            spans, content = written.get(number), message["content"].strip()
            if spans is None or len(spans) > 1:
                return None
            start, end = spans[0]
            if message["role"] != ASSISTANT:
                if text.find(content, start, end) < 0:
                    return None
            else:
                begin, stop = start + len(prompt), end_without_space(text, start, end)
                if not text.startswith(prompt, start, end) or message["content"][-1:].isspace():
                    return None
                if begin >= stop or text.find(content, begin, stop) < 0:
                    return None
                turns.append(Turn(number, [(begin, stop)]))
        return Reading(text, turns, USUAL) if end == len(text) else None  # else something closes the chat

    def prompt(self, messages: list[Message], tools: list | None, form: Form) -> str:
        """Return the text that the model goes on from after `messages`; empty without messages."""
        return self.template.render(form.apply(messages), True, tools) if messages else ""

    def without_end(self, text: str) -> str:
        """Return what a turn says, without the tokens that end it."""
        text = text.strip()
        while ending := next((token for token in self.tokens if text.endswith(token)), None):
            text = text.removesuffix(ending).strip()
        return text


class Chat:
    """One chat in one form, whose turns are being located."""

    def __init__(
        self, finder: TurnFinder, messages: list[Message], prompted: bool, tools: list | None, form: Form
    ) -> None:
        self.finder, self.template = finder, finder.template
        self.messages, self.prompted, self.tools, self.form = messages, prompted, tools, form
        self.prompts: dict[tuple, str | None] = {}

    def read(self, locate: bool) -> Reading:
        """Return the text and the turns. Raises TemplateGap when the template does not write what the chat has."""
        trace = self.without_others(self.render(self.messages, self.prompted))
        turns = (self.marked_turns(trace) if trace.marked else self.turns(trace)) if locate else []
        reading = Reading(trace.text, turns, self.form)
        check_written(self, trace, reading)
        if self.tools:
            check_tools_written(self, trace)
        return reading

    def render(self, messages: list[Message], prompted: bool, tools: bool = True) -> Trace:
        """Render other messages as this chat's are."""
        return self.template.trace(self.form.apply(messages), prompted, self.tools if tools else None)

    def rendered(self, messages: list[Message], prompted: bool) -> Trace | None:
        """Render other messages as this chat's are; None where the template refuses them."""
        try:
            return self.render(messages, prompted)
        except REFUSALS:
            return None

    def gap(self, number: int) -> TemplateGap:
        """Return the error for a turn that cannot be located."""
        return TemplateGap(
            f"the chat template writes message {number + 1} (assistant) in a way that its text cannot be located in "
            "the chat, so it cannot be trained on: mark it in the template with {% generation %}…{% endgeneration %}, "
            "or use train_on with response_template"
        )

    def without_others(self, trace: Trace) -> Trace:
        """Take from a last message that calls tools what belongs to the answer of the tool.

        Some templates open that answer at once (Gemma 4). Whose it is shows when the answer is there.
        """
        number = len(self.messages) - 1
        calls = self.messages[number].get("tool_calls")
        if not calls or self.prompted or number not in trace.written:
            return trace
        answer = {"role": "tool", "name": calls[0]["function"]["name"], "content": f"{STAND_IN}x"}
        answered = self.rendered([*self.messages, answer], False)
        if answered is None or not {number, number + 1} <= answered.written.keys():
            return trace
        start, end = answered.written[number][0]
        own = answered.text[start:end].rstrip()
        start, end = trace.written[number][-1]
        rest = trace.text[start + len(own) : end].strip()
        theirs = answered.text[slice(*answered.written[number + 1][0])]
        if not rest or not trace.text.startswith(own, start) or not theirs.lstrip().startswith(rest):
            return trace
        middle = start + len(own)
        shared = {number: [*trace.written[number][:-1], (start, middle)], number + 1: [(middle, end)]}
        return trace._replace(written={**trace.written, **shared})

    # turns that the template marks

    def marked_turns(self, trace: Trace) -> list[Turn]:
        """Return the turns that the template marks with `{% generation %}`, each up to its end token."""
        owners = sorted((start, end, number) for number, spans in trace.written.items() for start, end in spans)
        last = len(self.messages) - 1
        turns: dict[int, list[Span]] = {}
        at = 0
        for start, end in trace.marked:
            while at < len(owners) and owners[at][1] <= start:
                at += 1
            inside = at < len(owners) and owners[at][0] <= start
            number, limit = (owners[at][2], owners[at][1]) if inside else (last, end)
            spans = turns.setdefault(number, [])
            span = (start, self.end_of_mark(trace.text, start, end, limit))
            if spans and spans[-1][1] >= start:
                span = (spans.pop()[0], span[1])
            spans.append(span)
        return [
            Turn(number, [self.without_space(trace.text, span) for span in spans])
            for number, spans in sorted(turns.items())
        ]

    def end_of_mark(self, text: str, start: int, end: int, limit: int) -> int:
        """Extend a mark over the tokens that end the turn, where only they are left of what its message wrote."""
        rest = text[end:limit].rstrip()
        return end + len(rest) if rest and self.finder.only_tokens.fullmatch(rest) else end

    def without_space(self, text: str, span: Span) -> Span:
        """Cut the white space that follows the token that ends a turn."""
        start, end = span
        stripped = end_without_space(text, start, end)
        return (start, stripped) if text.endswith(self.finder.tokens, start, stripped) else span

    # turns that it does not mark

    def turns(self, trace: Trace) -> list[Turn]:
        """Return the turns of all assistant messages. Raises TemplateGap for one that cannot be located."""
        numbers = [number for number, message in enumerate(self.messages) if message.get("role") == ASSISTANT]
        headers: dict[int, int] = {}
        unclear: dict[int, str | None] = {}
        for number in numbers:
            if number not in trace.written:
                raise self.gap(number)
            prompt = self.prompt_before(number, trace)
            if prompt and trace.text.startswith(prompt, trace.written[number][0][0]):
                headers[number] = len(prompt)
            else:
                unclear[number] = prompt
        if unclear:
            headers |= self.headers(unclear, trace)
        return [self.turn(number, headers[number], trace) for number in numbers]

    def turn(self, number: int, header: int, trace: Trace) -> Turn:
        """Return the turn of a message of which the first `header` characters are the prompt's."""
        written = trace.written[number]
        begins = [(written[0][0] + header, written[0][1]), *written[1:]]
        spans = [(start, end_without_space(trace.text, start, end)) for start, end in begins]
        start, end = spans[-1]
        spans[-1] = (start, self.turn_end(number, start, end, written[-1][1], trace))
        spans = [span for span in spans if span[0] < span[1]]
        if not spans:
            raise self.gap(number)
        return Turn(number, spans)

    def turn_end(self, number: int, start: int, end: int, limit: int, trace: Trace) -> int:
        """Return where a turn ends whose last text without outer white space ends at `end`, with it at `limit`."""
        text = trace.text
        if number == len(self.messages) - 1:
            if self.prompted and self.template.constant_prompt is None:
                return self.end_before_prompt(number, start, end, trace)
            closing = "" if self.prompted else text[trace.tail :].rstrip()
            if closing and trace.tail == limit and not self.is_prompt(closing, trace):
                token = self.finder.added_token.search(closing)
                return limit + (token.end() if token else len(closing))
        if not text.endswith(self.finder.tokens, start, end):
            content = self.messages[number].get("content") or ""
            space = content[len(content.rstrip()) :]
            if space and text.startswith(space, end) and end + len(space) <= limit:
                return end + len(space)
        return end

    def is_prompt(self, closing: str, trace: Trace) -> bool:
        """Tell whether what follows the last turn is the header that every turn begins with, not its end."""
        numbers = [number for number, message in enumerate(self.messages) if message["role"] == ASSISTANT]
        return any(trace.text.startswith(closing, trace.written[number][0][0]) for number in numbers)

    def end_before_prompt(self, number: int, start: int, end: int, trace: Trace) -> int:
        """Return the end of the last turn where its message's loop may write the generation prompt, too."""
        bare = self.rendered(self.messages, False)
        if bare is None or number not in bare.written:
            return end
        first, last = bare.written[number][-1]
        alone = bare.text[first:last].rstrip()
        begin = trace.written[number][-1][0]
        return max(start, begin + len(alone)) if trace.text.startswith(alone, begin) else end

    # where the prompt of a turn ends

    def prompt_before(self, number: int, trace: Trace) -> str | None:
        """Return the generation prompt before a message: what the template adds to what comes before it.

        Where it may depend on the chat it is rendered once for each kind of message that can come before. None when
        it cannot be told.
        """
        if self.template.constant_prompt is not None:
            return self.template.constant_prompt
        if number == 0:
            return None
        before = self.messages[number - 1]
        kind = (before.get("role"), bool(before.get("tool_calls")))
        if kind not in self.prompts:
            self.prompts[kind] = self.rendered_prompt(number, trace)
        return self.prompts[kind]

    def rendered_prompt(self, number: int, trace: Trace) -> str | None:
        """Render the chat before a message with a generation prompt and return what that is."""
        start = trace.written[number][0][0]
        asked = self.rendered(self.messages[:number], True)
        if asked is None:
            return None
        if asked.text.startswith(trace.text[:start]):
            return asked.text[start:]
        # the template writes earlier messages otherwise when there are later ones: compare the last one alone
        if number - 1 in asked.written and number - 1 in trace.written:
            here = trace.text[trace.written[number - 1][0][0] : start]
            there = asked.text[asked.written[number - 1][0][0] :]
            if there.startswith(here):
                return there[len(here) :]
        return asked.text[asked.tail :] if asked.written else None

    def headers(self, unclear: dict[int, str | None], trace: Trace) -> dict[int, int]:
        """Return how many characters the header has of turns that do not begin with the generation prompt.

        It ends where the text of a stand-in begins that is put in the place of the content, at the latest; and where
        the turn and the prompt part, if there is one.
        """
        before = self.stand_in_headers(unclear, trace)
        found = {}
        for number, prompt in unclear.items():
            start, end = trace.written[number][0]
            header = before.get(number)
            shared = self.shared_header(prompt, trace.text[start:end]) if prompt and number else 0
            if shared:
                found[number] = shared if header is None else len(os.path.commonprefix([header, prompt[:shared]]))
            elif header is None or not trace.text.startswith(header, start, end):
                raise self.gap(number)
            else:  # the template knows no generation prompt: only white space before a content is the model's
                found[number] = len(header) if header.strip() or number == 0 else 0
        return found

    def stand_in_headers(self, unclear: dict[int, str | None], trace: Trace) -> dict[int, str]:
        """Return what messages write before their contents, told by stand-ins for these; {number: text}."""
        found: dict[int, str] = {}
        for keep in (("role", "tool_calls"), ("role",)):
            missing = [number for number in unclear if number not in found]
            chat = list(self.messages)
            for number in missing:
                kept = {key: value for key, value in chat[number].items() if key in keep}
                chat[number] = {**kept, "content": f"{STAND_IN}x"}
            other = self.rendered(chat, self.prompted) if missing else None
            for number in missing if other else []:
                text = "".join(other.text[start:end] for start, end in other.written.get(number, []))
                header, stand_in, _ = text.partition(STAND_IN)
                if stand_in:
                    found[number] = header
        return found

    def shared_header(self, prompt: str, written: str) -> int:
        """Return how much of what a message wrote is its header, where it parts from the generation prompt.

        A tag that the prompt opens and the turn goes on with otherwise (`<think>`) belongs to the turn.
        """
        size = len(os.path.commonprefix([prompt, written]))
        for tag in TAG.finditer(prompt):
            closing = f"</{tag.group()[1:]}"
            if tag.start() < size < tag.end():
                return tag.start()
            if tag.end() <= size and closing in self.template.source and closing not in prompt[:size]:
                return tag.start()
        return size


def end_without_space(text: str, start: int, end: int) -> int:
    """Return where text[start:end] ends without the white space at its end; texts are long, so none is copied."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return end
