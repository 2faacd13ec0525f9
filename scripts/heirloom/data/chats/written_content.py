"""Hold a rendered chat against its row: a template that leaves out what the row has must not be trained with.

Most contents stand in the text as they are. For what does not, and for tool calls, the chat is rendered once more with
other words in their places: what the template writes in some form of its own (as JSON, in tags) shows these words.
"""

from typing import TYPE_CHECKING, Any

from heirloom.data.chats.message_forms import (
    ASSISTANT,
    REASONING,
    Message,
    arguments_of,
    as_json,
    reasoning_of,
    tool_names,
)
from heirloom.data.chats.traced_templates import Trace

if TYPE_CHECKING:
    from heirloom.data.chats.turns import Chat, Reading

END_OF_REASONING = "</think>"


class TemplateGap(ValueError):  # noqa: N818 - it names what the template lacks
    """The chat template does not write what a row has."""


def check_written(chat: "Chat", trace: Trace, reading: "Reading") -> None:
    """Raise TemplateGap unless the text holds each message's content, and each turn its reasoning and calls."""
    texts = Texts(trace, reading, chat.messages)
    doubtful = []
    for number, message in enumerate(chat.messages):
        content = message.get("content")
        if message.get("tool_calls") or (content and not texts.hold(number, message)):
            doubtful.append(number)
    if doubtful:
        doubtful.sort(key=lambda number: chat.messages[number]["role"] != ASSISTANT)  # the model's own gap first
        check_by_other_words(chat, doubtful, reading)
    if chat.form.parts or doubtful:
        check_no_source(chat, texts)
    check_reasoning(chat, texts)


class Texts:
    """What each message wrote: of a turn what is trained on, of others all."""

    def __init__(self, trace: Trace, reading: "Reading", messages: list[Message]):
        self.trace, self.messages = trace, messages
        self.turns = {turn.message: turn.spans for turn in reading.turns}
        self.unowned: str | None = None

    def of(self, number: int) -> str:
        """Return what a message wrote, or all that no message wrote when it has no place of its own."""
        spans = self.turns.get(number) or self.trace.written.get(number)
        if spans is not None:
            return "".join([self.trace.text[start:end] for start, end in spans])
        return self.of_none()

    def of_none(self) -> str:
        """Return what the template wrote outside of messages."""
        if self.unowned is None:
            spans = sorted(span for spans in self.trace.written.values() for span in spans)
            edges = [0, *(edge for span in spans for edge in span), len(self.trace.text)]
            self.unowned = "\n".join(
                self.trace.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)
            )
        return self.unowned

    def hold(self, number: int, message: Message) -> bool:
        """Tell whether a message's content stands in what it wrote; of a turn the part after its reasoning is enough.

        Others' contents may stand where no message is (system texts).
        """
        content = message["content"].strip()
        spans = self.turns.get(number) or self.trace.written.get(number) or ()
        if any(self.trace.text.find(content, start, end) >= 0 for start, end in spans):
            return True
        if message["role"] != ASSISTANT:
            return content in self.of_none()
        answer = content.rpartition(END_OF_REASONING)[2].strip()
        return bool(answer) and END_OF_REASONING in content and answer in self.of(number)


def check_by_other_words(chat: "Chat", numbers: list[int], reading: "Reading") -> None:
    """Render once more with other contents and calls of the messages `numbers`; raise TemplateGap for missing ones."""
    words = {number: other_words(number, chat.messages[number]) for number in numbers}
    messages = [words[number][0] if number in words else message for number, message in enumerate(chat.messages)]
    trace = chat.rendered(messages, chat.prompted)
    if trace is None:
        raise missing(chat, numbers[0], "the content")
    turns = chat.marked_turns(trace) if trace.marked and reading.turns else []
    texts = Texts(trace, reading._replace(text=trace.text, turns=turns), messages)
    for number in numbers:
        message = chat.messages[number]
        text = texts.of(number) if message["role"] == ASSISTANT else trace.text
        for what, word in words[number][1]:
            if word not in text:
                raise missing(chat, number, what)
        for call in messages[number].get("tool_calls", []):
            if is_source(arguments_of(call), text):
                raise TemplateGap(f"the chat template writes the arguments of message {number + 1} as Python source")


def other_words(number: int, message: Message) -> tuple[Message, list[tuple[str, str]]]:
    """Return a message with other words for its content and its calls, and these: (what they stand for, word)."""
    message, words = dict(message), []
    if (message.get("content") or "").strip():
        message["content"] = f"Heirloom{number}content"
        words.append(("the content", message["content"]))
    calls = []
    for at, call in enumerate(message.get("tool_calls", [])):
        stem, function = f"heirloom_{number}_{at}_", call["function"]
        arguments = {f"{stem}key": f"{stem}value"} if arguments_of(call) else {}
        what = f"the call of {function['name']!r}"
        words += [(what, f"{stem}name")] + [(f"{what}'s arguments", f"{stem}value") for _ in arguments]
        given = {"arguments": arguments} if "arguments" in function else {}
        calls.append({**call, "function": {"name": f"{stem}name", **given}})
    if calls:
        message["tool_calls"] = calls
    return message, words


def missing(chat: "Chat", number: int, what: str) -> TemplateGap:
    """Return the error for what the template leaves out."""
    role = chat.messages[number]["role"]
    beside = " beside its tool calls" if chat.messages[number].get("tool_calls") and "content" in what else ""
    consequence = (
        "it cannot be located in the chat and would not be trained on: mark it in the template with "
        "{% generation %}…{% endgeneration %}, or name a template that writes it"
        if role == ASSISTANT
        else "the model would not see it: name a template that writes it"
    )
    return TemplateGap(
        f"the chat template does not write {what} of message {number + 1} ({role}){beside}, so {consequence} in "
        "processing.chat_template, or take it out of the rows"
    )


def check_no_source(chat: "Chat", texts: Texts) -> None:
    """Raise TemplateGap when a content in parts, or a call's arguments, stand in the text as Python writes them."""
    for number, message in enumerate(chat.form.apply(chat.messages)):
        content = message.get("content")
        values = [content] if isinstance(content, list) else []
        for call in chat.messages[number].get("tool_calls", []):
            values += [arguments_of(call), *arguments_of(call).values()]
        for value in values:
            if isinstance(value, dict | list) and value and is_source(value, texts.of(number)):
                raise TemplateGap(
                    f"the chat template writes message {number + 1} ({message['role']}) as Python source: it takes "
                    f"neither its contents as text nor in parts"
                )


def is_source(value: Any, text: str) -> bool:
    """Tell whether a text holds a value as Python writes it and JSON does not."""
    source = repr(value)
    return source != as_json(value) and source in text


def check_reasoning(chat: "Chat", texts: Texts) -> None:
    """Raise TemplateGap when reasoning is not written after the last question.

    Many templates leave out the reasoning of earlier turns on purpose: the model will not see it either.
    """
    reasoning = [number for number, message in enumerate(chat.messages) if reasoning_of(message)]
    if not reasoning:
        return
    questions = [number for number, message in enumerate(chat.messages) if message["role"] == "user"]
    reads = any(chat.template.reads(key) for key in REASONING)
    for number in reasoning:
        if reads and questions and number < questions[-1]:
            continue
        if reasoning_of(chat.messages[number]).strip() not in texts.of(number):
            raise missing(chat, number, "the reasoning")


def check_tools_written(chat: "Chat", trace: Trace) -> None:
    """Raise TemplateGap when the template does not write the tools that a chat may call."""
    names = tool_names(chat.tools)
    try:
        without = chat.render(chat.messages, chat.prompted, tools=False)
    except Exception:  # noqa: BLE001 - a template that cannot do without them writes them
        without = None
    left_out = [name for name in names if name not in trace.text]
    if left_out or (without is not None and without.text == trace.text):
        raise TemplateGap(
            f"the chat template does not write the row's tools ({', '.join(left_out or names)}): name one that does "
            "in processing.chat_template, or rename the column with processing.columns to train without them"
        )
