"""Render a chat and know which message each character of the text comes from.

The template's own code is compiled once more with calls in it that write nothing: where a loop turns to a message,
where it ends, where `{% generation %}` begins and ends. The text that comes out is the text, not one with markers in
it that a template could treat differently, and one rendering is enough, whatever the chat's length.
"""

from itertools import accumulate
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.visitor import NodeTransformer

Span = tuple[int, int]  # characters [start, end) of the rendered text
TURN, NAMED, LEAVE = "heirloom_turn", "heirloom_named", "heirloom_leave"
BEGIN_MARK, END_MARK = "heirloom_begin_mark", "heirloom_end_mark"
PROMPTED = "add_generation_prompt"  # what templates call the wish for a prompt that the model goes on from
OF_THE_ROW = {"messages", "tools", "documents"}  # what the template is told about the row


class Trace(NamedTuple):
    """A rendered chat: its text, what each message wrote, and what the template marks with `{% generation %}`."""

    text: str
    written: dict[int, list[Span]]  # by the number of the message, in the order of the text; no empty ones
    marked: list[Span]

    @property
    def tail(self) -> int:
        """Where the text begins that the template writes after all messages."""
        return max((spans[-1][1] for spans in self.written.values()), default=0)


class TracedTemplate:
    """A chat template whose renderings say which message wrote what."""

    def __init__(self, compiled: jinja2.Template, source: str, variables: dict[str, Any]):
        """`compiled`: the template as transformers compiles it, of `source`. `variables`: what no chat changes."""
        environment = compiled.environment.overlay()
        environment.filters = environment.filters | {
            TURN: self.turn,
            NAMED: self.named,
            LEAVE: self.leave,
            BEGIN_MARK: self.begin_mark,
            END_MARK: self.end_mark,
        }
        tree = environment.parse(source)
        self.prompt_is_constant = prompt_is_constant(tree)
        self.names = names_read(tree)
        code = environment.compile(Tracing().visit(tree))
        self.template = jinja2.Template.from_code(environment, code, compiled.globals)
        self.variables = variables
        self.context: Context | None = None

    def render(self, messages: list[dict[str, Any]], prompted: bool, tools: list | None) -> Trace:
        """Render `messages`, with a generation prompt if `prompted`.

        Raises what the template raises for messages that it refuses.
        """
        numbers = {id(message): number for number, message in enumerate(messages)}
        if len(numbers) < len(messages):  # an object that is there twice could not be told from itself
            messages = list(map(dict, messages))
            numbers = {id(message): number for number, message in enumerate(messages)}
        context = self.fresh_context()
        context.parent |= {"messages": messages, "tools": tools, PROMPTED: prompted}
        self.pieces = pieces = []
        self.numbers = numbers
        self.inside: list[tuple[int, int]] = []  # the loops that are at a message: (loop, message)
        self.changes: list[tuple[int, int | None]] = []  # (pieces so far, whose the next ones are)
        self.marks: list[int] = []  # pieces so far where marks begin and end, in turn
        for piece in self.template.root_render_func(context):
            pieces.append(piece)
        trace = self.trace()
        self.pieces, self.numbers = [], {}  # a text may be long
        context.parent |= {"messages": None, "tools": None}
        self.context = context
        return trace

    def fresh_context(self) -> Context:
        """Return a context in which the template has set nothing yet, so that no chat knows of another.

        The one of the last chat, emptied, costs a third of a new one. A chat that was refused leaves none behind: the
        template may have stopped anywhere.
        """
        context, self.context = self.context, None
        if context is None:
            return self.template.new_context(self.variables)
        context.vars.clear()
        context.exported_vars.clear()
        return context

    def trace(self) -> Trace:
        """Return what was rendered."""
        at = [0, *accumulate(map(len, self.pieces))]
        written: dict[int, list[Span]] = {}
        self.changes.append((len(self.pieces), None))
        owner, start = None, 0
        for pieces, following in self.changes:
            end = at[pieces]
            if owner is not None and start < end:
                if owner not in written:
                    written[owner] = [(start, end)]
                elif written[owner][-1][1] == start:
                    written[owner][-1] = (written[owner][-1][0], end)
                else:
                    written[owner].append((start, end))
            owner, start = following, end
        marked: list[Span] = []
        if self.marks:
            marks = [at[pieces] for pieces in self.marks]
            marked = [span for span in zip(marks[::2], marks[1::2], strict=True) if span[0] < span[1]]
        return Trace("".join(self.pieces), written, marked)

    # what the compiled template calls: filters, of which the result is thrown away

    @jinja2.pass_context
    def turn(self, _: Any, value: Any, loop: int) -> None:
        """A loop turns to its next value, perhaps a message."""
        number, inside = self.numbers.get(id(value)), self.inside
        if number is None and not inside:
            return
        if inside and inside[-1][0] == loop:  # it was at another message before
            inside.pop()
        elif any(other == loop for other, _ in inside):
            del inside[[other for other, _ in inside].index(loop) :]
        elif number is None:
            return
        if number is not None:
            inside.append((loop, number))
            self.changes.append((len(self.pieces), number))
        else:
            self.changes.append((len(self.pieces), inside[-1][1] if inside else None))

    @jinja2.pass_context
    def named(self, _: Any, value: Any, loop: int) -> None:
        """A loop over something else (indices) gives a name to what may be a message: the first one is its message."""
        number = self.numbers.get(id(value))
        if number is not None and all(other != loop for other, _ in self.inside):
            self.inside.append((loop, number))
            self.changes.append((len(self.pieces), number))

    @jinja2.pass_context
    def leave(self, _: Any, loop: int) -> None:
        """A loop ends."""
        for depth, (other, _) in enumerate(self.inside):
            if other == loop:
                del self.inside[depth:]
                self.changes.append((len(self.pieces), self.inside[-1][1] if self.inside else None))
                return

    @jinja2.pass_context
    def begin_mark(self, _: Any, value: Any) -> None:
        self.marks.append(len(self.pieces))

    @jinja2.pass_context
    def end_mark(self, _: Any, value: Any) -> None:
        self.marks.append(len(self.pieces))


class Tracing(NodeTransformer):
    """Puts calls into a template's syntax tree that say where its loops are."""

    def __init__(self) -> None:
        self.loops: list[int | None] = [None]  # None: outside of loops
        self.count = 0
        self.visitors = {nodes.For: self.loop, nodes.Assign: self.assignment}
        self.visitors |= {nodes.Macro: self.macro, nodes.CallBlock: self.call_block}

    def get_visitor(self, node: nodes.Node) -> Any:
        """Return what is called for a node; None for those that only their parts are visited of."""
        return self.visitors.get(type(node))

    def loop(self, node: nodes.For) -> list[nodes.Node]:
        self.count += 1
        loop = self.count
        self.loops.append(loop)
        node = self.generic_visit(node)
        self.loops.pop()
        target = node.target.name if isinstance(node.target, nodes.Name) else None
        value = nodes.Name(target, "load") if target else nodes.Const(None)
        node.body.insert(0, call(TURN, value, loop))
        return [node, call(LEAVE, nodes.Const(loop))]

    def assignment(self, node: nodes.Assign) -> nodes.Node | list[nodes.Node]:
        loop = self.loops[-1]
        if loop is None or not isinstance(node.target, nodes.Name):
            return node
        return [node, call(NAMED, nodes.Name(node.target.name, "load"), loop)]

    def macro(self, node: nodes.Macro) -> nodes.Node:
        self.loops.append(None)
        node = self.generic_visit(node)
        self.loops.pop()
        return node

    def call_block(self, node: nodes.CallBlock) -> nodes.Node | list[nodes.Node]:
        if not isinstance(node.call.node, nodes.ExtensionAttribute):
            return self.macro(node)
        # `{% generation %}` writes what is in it; its names stay inside
        node = self.generic_visit(node)
        nothing = nodes.Const(None)
        return [call(BEGIN_MARK, nothing), nodes.Scope(node.body), call(END_MARK, nothing)]


def call(name: str, value: nodes.Expr, *arguments: int) -> nodes.ExprStmt:
    """Return the statement that calls one of the methods above."""
    constants = [nodes.Const(argument) for argument in arguments]
    return nodes.ExprStmt(nodes.Filter(value, name, constants, [], None, None))


def names_read(tree: nodes.Template) -> set[str]:
    """Return all names, attributes and texts of a template: what it never names, it cannot write."""
    names = {node.name for node in tree.find_all(nodes.Name)}
    names |= {node.attr for node in tree.find_all(nodes.Getattr)}
    return names | {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}


def prompt_is_constant(tree: nodes.Template) -> bool:
    """Tell whether the generation prompt is the same after any chat: it is written last, and by nothing of the row."""
    written = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    written |= {node.name for node in tree.find_all(nodes.Macro)}
    foreign = written | OF_THE_ROW
    loops = [number for number, node in enumerate(tree.body) if contains(node, nodes.For)]
    after = tree.body[loops[-1] + 1 :] if loops else []
    for node in after:
        if any(name.name in foreign for name in names_in(node)) or contains(node, nodes.NSRef):
            return False
    return not any(
        name.name == PROMPTED for node in tree.body[: len(tree.body) - len(after)] for name in names_in(node)
    )


def contains(node: nodes.Node, kind: type[nodes.Node]) -> bool:
    """Tell whether a node is of a kind, or something in it."""
    return isinstance(node, kind) or node.find(kind) is not None


def names_in(node: nodes.Node) -> list[nodes.Name]:
    """Return the names in a node, itself included."""
    return [*([node] if isinstance(node, nodes.Name) else []), *node.find_all(nodes.Name)]
