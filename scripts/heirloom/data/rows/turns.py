"""Find what the assistant wrote in a rendered chat, for any chat template.

Few templates mark it with `{% generation %}`. For the others a turn is located by rendering the chat again with an
invisible marker character on both sides of the turn's content, and by rendering the chat so far with a generation
prompt. A location counts only when the marked text without its markers equals the real text, or when the prompt
really is a prefix of it; where neither holds, the row is refused. Nothing is guessed.

A turn is what the model has to write after the generation prompt: the content, with anything that the template puts
before it inside the turn (` ` in Mistral's, an empty `<think>` block), up to and including the token that
ends the turn. White space after that token belongs to nobody.

Where a template frames the messages of many chats alike, the frame is remembered: a chat whose text is exactly the
remembered frame filled with its contents needs no second rendering.
"""

import os.path
import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import TemplateError

from heirloom.data.rows.chat_templates import ChatTemplate, Message

Span = tuple[int, int]  # characters [start, end) of the rendered text
ASSISTANT = "assistant"
FIRST_MARKER = 0x10F000  # private-use characters, two a message
REMEMBERED_FRAMES = 16  # a sequence of roles

# Where the markers of a content stand. A template that trims shows an outer marker in an unchanged text only if it
# kept the white space, so the outer places come first.
OUTSIDE, INSIDE, NOWHERE = "outside its white space", "inside its white space", "nowhere"
BOTH_SIDES = ((OUTSIDE, OUTSIDE), (OUTSIDE, INSIDE), (INSIDE, OUTSIDE), (INSIDE, INSIDE))
ONE_SIDE = ((NOWHERE, OUTSIDE), (NOWHERE, INSIDE), (OUTSIDE, NOWHERE), (INSIDE, NOWHERE))
WAYS_WITHOUT_SPACE = {(OUTSIDE, OUTSIDE), (NOWHERE, OUTSIDE), (OUTSIDE, NOWHERE)}


class Frame(NamedTuple):
    """What a template writes around the contents of a sequence of roles, and where its assistant turns lie.

    `between` has one text more than there are messages. `turns` has, for each assistant turn, the index of
    its message, and the number of characters before its content and after it that belong to the turn.
    """

    between: tuple[str, ...]
    turns: tuple[tuple[int, int, int], ...]


class Marked(NamedTuple):
    """Where a content lies in the real text (start, end); None on a side that could not be marked."""

    start: int | None
    end: int | None


class TurnFinder:
    """Renders chats and locates their assistant turns."""

    def __init__(self, template: ChatTemplate, added_tokens: Sequence[str]):
        """`added_tokens`: the tokenizer's special and other added tokens, which templates end turns with."""
        self.template = template
        longest_first = sorted((token for token in added_tokens if token.strip()), key=len, reverse=True)
        self.added_token = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self.frames: dict[tuple, list[Frame]] = {}

    def render(
        self, messages: list[Message], add_generation_prompt: bool = False, tools: list | None = None
    ) -> tuple[str, list[Span]]:
        """Return the text of a chat and the span of each assistant turn in it.

        Raises ValueError when a turn cannot be located, jinja2.TemplateError when the template refuses the chat.
        """
        text = self.template.render(messages, add_generation_prompt, tools)
        plain = tools is None and all(type(message.get("content")) is str for message in messages)
        key = (add_generation_prompt, *(message["role"] for message in messages)) if plain else None
        for frame in self.frames.get(key, ()):
            spans = spans_in_frame(frame, [message["content"] for message in messages], text)
            if spans is not None:
                return text, spans
        chat = Chat(self, messages, text, add_generation_prompt, tools)
        spans = chat.locate_turns()
        frame = chat.frame(spans) if key else None
        if frame:
            remembered = self.frames.setdefault(key, [])
            remembered.insert(0, frame)
            del remembered[REMEMBERED_FRAMES:]
        return text, spans


def spans_in_frame(frame: Frame, contents: list[str], text: str) -> list[Span] | None:
    """Return the spans of the turns when `text` is `frame` filled with the contents, as they are or stripped."""
    for filling in (contents, [content.strip() for content in contents]):
        parts = [part for pair in zip(frame.between, filling, strict=False) for part in pair]
        if "".join((*parts, frame.between[-1])) == text:
            spans, at, message = [], 0, 0
            for index, before, after in frame.turns:
                while message <= index:
                    at += len(frame.between[message]) + len(filling[message])
                    message += 1
                spans.append((at - len(filling[index]) - before, at + after))
            return spans
    return None


class Chat:
    """One rendered chat whose turns are being located."""

    def __init__(self, finder: TurnFinder, messages: list[Message], text: str, prompted: bool, tools: list | None):
        self.template, self.added_token = finder.template, finder.added_token
        self.messages, self.text, self.prompted, self.tools = messages, text, prompted, tools
        self.turns = [index for index, message in enumerate(messages) if message.get("role") == ASSISTANT]
        self.contents = self.locate_all_contents()

    def locate_turns(self) -> list[Span]:
        """Return the span of each assistant turn. Raises ValueError when one cannot be located."""
        if self.template.marks_generation:
            text, spans = self.template.render_generation(self.messages, self.prompted, self.tools)
            if text == self.text and spans:
                return [
                    (start, self.end_by_tail(end, self.tail_by_generation(number, spans)))
                    for number, (start, end) in enumerate(spans)
                ]
        spans = []
        for index in self.turns:
            content = self.contents[index] if self.contents else self.locate_content(index)
            start = self.turn_start(index, content)
            end = self.turn_end(index, content, start)
            if start is None or end is None or not start < end <= len(self.text):
                raise ValueError(
                    f"the chat template writes message {index + 1} (assistant) in a way that its text cannot be "
                    "located in the chat, so it cannot be trained on: mark it in the template with "
                    "{% generation %}…{% endgeneration %}, or use train_on with response_template"
                )
            spans.append((start, end))
        return spans

    # where contents lie

    def locate_all_contents(self) -> list[Marked] | None:
        """Locate every content, at best with one rendering; None when the template treats marked ones differently."""
        if not all(isinstance(message.get("content"), str) and message["content"].strip() for message in self.messages):
            return None
        return self.locate_marked(range(len(self.messages)), BOTH_SIDES)

    def locate_content(self, index: int) -> Marked:
        """Locate one message's content, on both sides or, where the template cuts it (reasoning), on one."""
        content = self.messages[index].get("content")
        if isinstance(content, str) and content.strip() and not self.messages[index].get("tool_calls"):
            located = self.locate_marked([index], (*BOTH_SIDES, *ONE_SIDE))
            if located:
                return located[0]
        return Marked(None, None)

    def locate_marked(self, indices: Sequence[int], ways: Sequence[tuple[str, str]]) -> list[Marked] | None:
        """Render with markers around the contents of `indices`; None unless all are found in an unchanged text.

        The `ways` to mark are tried in turn: outside a content's own white space or, for templates that trim,
        inside it.
        """
        spaced = any(self.messages[index]["content"] != self.messages[index]["content"].strip() for index in indices)
        for left, right in ways:
            if spaced or (left, right) in WAYS_WITHOUT_SPACE:
                located = self.locate_marked_so(indices, left, right)
                if located:
                    return located
        return None

    def locate_marked_so(self, indices: Sequence[int], left: str, right: str) -> list[Marked] | None:
        """Render with the contents of `indices` marked in one way."""
        marked = list(self.messages)
        for index in indices:
            marked[index] = {**marked[index], "content": with_markers(marked[index]["content"], index, left, right)}
        try:
            text = self.template.render(marked, self.prompted, self.tools)
        except TemplateError:
            return None
        if without_markers(text, indices) != self.text:
            return None
        located = []
        for index in indices:
            edges = []
            for marker, side in zip(markers(index), (left, right), strict=True):
                if text.count(marker) != (side != NOWHERE):
                    return None
                at = text.find(marker)
                edges.append(len(without_markers(text[:at], indices)) if at >= 0 else None)
            located.append(Marked(*edges))
        return located

    # where turns begin and end

    def turn_start(self, index: int, content: Marked) -> int | None:
        """Return where the model begins to write: after the generation prompt, or at the content."""
        begins = self.start_of_another_content(index) if content.start is None else content.start
        prompt = self.rendered_so_far(index, True)
        limit = len(self.text) if begins is None else begins
        if prompt is None or len(prompt) > limit or not self.text.startswith(prompt):
            return begins
        gap = self.text[len(prompt) : limit]
        if prompt != self.rendered_so_far(index, False) or (begins is not None and not gap.strip()):
            return len(prompt)
        return begins  # the template knows no generation prompt: the gap holds the turn's header

    def start_of_another_content(self, index: int) -> int | None:
        """Return where the content would begin if it were another; None when the text before it would differ too."""
        marker = markers(index)[0]
        try:
            text = self.template.render(
                [
                    *self.messages[:index],
                    {**self.messages[index], "content": f"{marker}x"},
                    *self.messages[index + 1 :],
                ],
                self.prompted,
                self.tools,
            )
        except TemplateError:
            return None
        before, found, _ = text.partition(marker)
        return len(before) if found and self.text.startswith(before) else None

    def turn_end(self, index: int, content: Marked, start: int | None) -> int | None:
        """Return where the turn ends, its closing token included."""
        is_last = index == len(self.messages) - 1 and not self.prompted
        whole = self.text if is_last else self.rendered_so_far(index + 1, False)
        if whole is None:
            return None if content.end is None else self.end_by_tail(content.end, "")
        if self.messages[index].get("tool_calls"):  # calls follow the content: the turn is all that was added
            shared = os.path.commonprefix([whole, self.text])
            return len(shared.rstrip()) if start is not None and len(shared.rstrip()) > start else None
        tail = self.tail_after(index)
        if content.end is not None:
            return self.end_by_tail(content.end, tail or "")
        if tail is None or not whole.endswith(tail):
            return None
        end = len(whole) - len(tail)
        return self.end_by_tail(end, tail) if self.text.startswith(whole[:end]) else None

    def tail_after(self, index: int) -> str | None:
        """Return what the template writes after an assistant turn that ends the chat."""
        chat = list(self.messages[: index + 1])
        marker = markers(index)[1]
        content = chat[-1].get("content")
        for filling in (f"{content.rstrip()}{marker}" if isinstance(content, str) else marker, f"x{marker}"):
            try:
                text = self.template.render([*chat[:-1], {**chat[-1], "content": filling}], False, self.tools)
            except TemplateError:
                continue
            if text.count(marker) == 1:
                return text[text.index(marker) + 1 :]
        return None

    def tail_by_generation(self, number: int, spans: list[Span]) -> str:
        """Return what a template with `{% generation %}` writes after a turn that ends the chat."""
        if len(spans) != len(self.turns):
            return ""
        chat = self.messages[: self.turns[number] + 1]
        text, earlier = self.template.render_generation(chat, False, self.tools)
        return text[earlier[-1][1] :] if len(earlier) == number + 1 else ""

    def end_by_tail(self, end: int, tail: str) -> int:
        """Extend a content's end over what the template ends the turn with, whether or not the chat goes on.

        `tail` is what follows the turn when it is the chat's last. Up to the first added token (`<|eot_id|>`), or
        without one all of it but white space (`### End`).
        """
        following = self.text[end:]
        shared = os.path.commonprefix([tail, following])
        token = self.added_token.search(shared)
        if token:
            return end + token.end()
        return end + len(tail.rstrip()) if shared == tail else end

    def rendered_so_far(self, count: int, add_generation_prompt: bool) -> str | None:
        """Return the text of the first `count` messages; None when there is none or the template refuses them."""
        if count == 0:
            return None
        try:
            return self.template.render(self.messages[:count], add_generation_prompt, self.tools)
        except TemplateError:
            return None

    def frame(self, spans: list[Span]) -> Frame | None:
        """Return the frame of this chat, for the chats that have the same; None when contents were not all located."""
        if not self.contents or len(spans) != len(self.turns):
            return None
        edges = [0]
        for content in self.contents:
            edges += [content.start, content.end]
        edges.append(len(self.text))
        if edges != sorted(edges):
            return None
        between = tuple(self.text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))
        turns = tuple(
            (index, self.contents[index].start - start, end - self.contents[index].end)
            for index, (start, end) in zip(self.turns, spans, strict=True)
        )
        return Frame(between, turns)


def markers(index: int) -> tuple[str, str]:
    """Return the two private-use characters that stand before and after the content of a message."""
    return chr(FIRST_MARKER + 2 * index % 0xF00), chr(FIRST_MARKER + 2 * index % 0xF00 + 1)


def with_markers(content: str, index: int, left: str, right: str) -> str:
    """Put markers around a content, outside or inside its outer white space, or not on one side."""
    opening, closing = markers(index)
    before, after = content[: len(content) - len(content.lstrip())], content[len(content.rstrip()) :]
    begin = {OUTSIDE: opening + before, INSIDE: before + opening, NOWHERE: before}[left]
    end = {OUTSIDE: after + closing, INSIDE: closing + after, NOWHERE: after}[right]
    return f"{begin}{content.strip()}{end}"


def without_markers(text: str, indices: Sequence[int]) -> str:
    """Take the markers of the messages `indices` out of a text."""
    for index in indices:
        for marker in markers(index):
            text = text.replace(marker, "")
    return text
