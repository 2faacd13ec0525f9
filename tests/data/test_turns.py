"""Where turns begin and end: against TRL's templates that mark it, and for what those do not show."""

import re

import chat_templates
import pytest
from jinja2 import TemplateError
from trained_spans import (
    ADDED,
    CALLED,
    TOKENS,
    TOOLS,
    TRL_TEMPLATES,
    assistant,
    bracketed,
    calling,
    finder_of,
    read,
    spans_of,
    tool,
    trained,
    trl_template,
    user,
)
from transformers.utils.chat_template_utils import _render_with_assistant_indices
from work_done import lines_executed

from heirloom.data.chats.chat_templates import ChatTemplate, plain
from heirloom.data.chats.message_forms import normal_messages, normal_tools

OSLO = {"name": "weather", "arguments": {"city": "Oslo"}}
WEATHER = {"name": "weather", "arguments": {"city": "Rome"}}
TWINS = sorted(path.stem.removesuffix("_training") for path in TRL_TEMPLATES.glob("*_training.jinja"))
CHATS = {
    "plain": [user("q1"), assistant("a1"), user(" q2 "), assistant(" a2\n")],
    "system": [{"role": "system", "content": "Be brief."}, user("q1"), assistant("<b>a1</b> <|im_end|></s>x")],
    "think": [
        *(user("q1"), assistant("<think>\nr1\n</think>\n\n<a1")),
        *(user("q2"), assistant("<think>\nr2\n</think>\n\na2")),
    ],
    "reasoning": [user("q1"), assistant("a1", reasoning_content="r1"), user("q2"), assistant("a2", thinking="r2")],
    "call": CALLED,
    "call and text": [
        *(user("q1"), calling(content="Let me look."), tool(), assistant("Sunny")),
        *(user("q2"), assistant("a2")),
    ],
    "call and reasoning": [user("q1"), calling(content=None, reasoning_content="I must."), tool(), assistant("Sunny")],
    "call at the end": [user("q1"), calling()],
    "two calls": [user("q1"), calling(WEATHER, OSLO), tool(), tool("rain"), assistant("both")],
}


@pytest.mark.parametrize("name", TWINS)
def test_turns_are_those_that_trls_templates_mark(name):
    """The same template read with its marks, without them, and as the model's makers wrote it.

    What is trained on may begin later than TRL's mark, where the template's own generation prompt has the rest.
    """
    marking = trl_template(f"{name}_training")
    unmarked = re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{%\1 set mark = 1 \2%}", marking)
    truth = ChatTemplate(marking, TOKENS)
    compared = set()
    for source in (marking, unmarked, trl_template(name)):
        finder = finder_of(source)
        for title, chat in CHATS.items():
            tools = normal_tools(TOOLS) if "call" in title and finder.template.reads("tools") else None
            messages = normal_messages(chat)
            try:
                reading = finder.read(messages, False, tools)
            except Exception as error:  # noqa: BLE001 - whatever the template raises
                assert title not in ("plain", "think"), f"{title}: {error}"
                continue
            form = reading.form.apply(messages)
            text, marks = _render_with_assistant_indices(truth.compiled, plain(form), tools, None, False, **TOKENS)
            if text == reading.text:  # the marking template may differ in more than marks
                found = spans_of(reading)
                wanted = as_defined(text, marks, found)
                assert bracketed(text, found) == bracketed(text, wanted), title
                if source != marking:
                    check_prompts(finder, reading, messages, tools)
                compared.add((title, source == unmarked))
    assert {("plain", True), ("think", True)} <= compared


def check_prompts(finder, reading, messages, tools):
    """Hold the start of each turn against the prompt that inference would give the model before it."""
    for turn in reading.turns:
        written = reading.text[: turn.spans[0][0]]
        prompt = finder.prompt(messages[: turn.message], tools, reading.form)
        # it goes on from the prompt; or, where this has a block that the turn has not, from its header
        assert prompt.endswith(written[-4:]) or written.endswith((">", "\n", "assistant")), prompt


def as_defined(text, marks, found):
    """Return TRL's marks as this project defines turns: joined, up to the end token, and from the prompt's end on."""
    joined = []
    for start, end in sorted(marks):
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        if start < end:
            joined.append((start, end))
    spans = []
    for number, (start, end) in enumerate(joined):
        kept = text[start:end].rstrip()
        end = start + len(kept) if any(kept.endswith(token) for token in ADDED.findall(kept)[-1:]) else end
        prompts = ("<|start|>assistant", "<｜Assistant｜>", "<｜Assistant｜><think>\n", "<｜tool▁outputs▁end｜>")
        prompts += ("<think>\n\n</think>\n\n", "<think>\n", "\n")
        begin = found[number][0] if number < len(found) else start
        spans.append((begin if text[start:begin] in prompts else start, end))
    return spans


def test_qwen3_trains_on_the_whole_call():
    """The last turn alone has a `<think>` block, so the chat so far is no beginning of the whole chat."""
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>'
    answer = "<think>\n\n</think>\n\nIt is sunny<|im_end|>"
    assert trained(trl_template("qwen3"), CALLED, TOOLS) == [call, answer]
    assert trained(trl_template("qwen3"), [CALLED[0], calling(content=None), *CALLED[2:]], TOOLS) == [call, answer]
    later = [*CALLED, user("Thanks"), assistant("Bye")]
    assert trained(trl_template("qwen3"), later, TOOLS)[0] == call
    spoken = [CALLED[0], calling(content="Let me look."), *CALLED[2:]]
    assert trained(trl_template("qwen3"), spoken, TOOLS)[0] == f"Let me look.\n{call}"


@pytest.mark.parametrize("name", ["qwen3_5_think", "qwen3_5_nothink", "qwen3_6"])
def test_calls_of_qwen3_5_are_whole_when_the_user_goes_on(name):
    chat = [CALLED[0], calling(content="Let me look."), *CALLED[2:], user("Thanks"), assistant("Bye")]
    call, answer, _ = trained(trl_template(name), chat, TOOLS)
    assert call.startswith("Let me look.\n\n<tool_call>\n<function=weather>") and call.endswith(
        "</tool_call><|im_end|>"
    )
    assert answer == "It is sunny<|im_end|>"


def test_reasoning_is_trained_on_where_the_prompt_skips_it():
    chat = [user("q"), assistant("a", reasoning_content="because")]
    assert trained(trl_template("qwen3_5_nothink"), chat) == ["<think>\nbecause\n</think>\n\na<|im_end|>"]
    assert trained(trl_template("nemotron_3_nano"), chat[:1] + [assistant("a")]) == ["<think></think>a<|im_end|>"]


def test_a_turn_that_ends_with_two_tokens_is_trained_on_with_both():
    assert trained(trl_template("cohere2"), [user("Hi"), assistant("Hello")]) == [
        "Hello<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"
    ]
    first, last = trained(trl_template("gptoss"), [user("Hi"), assistant("Hello"), user("Bye"), assistant("Ciao")])
    assert first == "<|channel|>final<|message|>Hello<|end|>" and last.endswith("Ciao<|return|>")


def test_the_answer_of_a_tool_is_never_trained_on():
    """Gemma 4 writes it into the turn of the call, and opens it where a chat ends with the call."""
    call = '<|tool_call>call:weather{city:<|"|>Rome<|"|>}<tool_call|>'
    assert trained(trl_template("diffusion_gemma"), CALLED, TOOLS) == [call, "It is sunny<turn|>"]
    assert trained(trl_template("diffusion_gemma"), CALLED[:2], TOOLS) == [call]


def test_a_mark_without_the_end_token_is_extended_even_if_only_one_turn_is_marked():
    source = chat_templates.GENERATION.replace("m['role'] == 'assistant'", "m['role'] == 'assistant' and loop.last")
    chat = [user("q1"), assistant("a1"), user("q2"), assistant("a2")]
    assert trained(source, chat) == ["a2<|im_end|>"]


INDEXED = (
    "{% for i in range(messages | length) %}{% set m = messages[i] %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALWAYS_PROMPTED = chat_templates.NO_PROMPT + "{{ '<|im_start|>assistant\\n' }}"
INSIDE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }}"
    "{% if loop.last and add_generation_prompt %} ASSISTANT:{% endif %}{% else %} ASSISTANT: {{ m['content'] }}</s>"
    "{% endif %}{% endfor %}"
)
MACRO = (
    "{% macro all(ms) %}{% for m in ms %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% endmacro %}"
    "{{ all(messages) }}"
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (INDEXED, ["a1<|im_end|>", "<b>a2<|im_end|>"]),
        (ALWAYS_PROMPTED, ["a1<|im_end|>", "<b>a2<|im_end|>"]),
        (INSIDE, [" a1</s>", " <b>a2</s>"]),
        (chat_templates.DROPPING, ["a1</s>", "<b>a2</s>"]),
    ],
    ids=["indexed", "always prompted", "prompt inside the loop", "prompt opens a block"],
)
def test_turns_of_templates_of_other_kinds(source, expected):
    assert trained(source, [user("q1"), assistant("a1"), user("q2"), assistant("<b>a2")]) == expected


def test_a_prompt_that_is_asked_for_is_not_trained_on_wherever_it_is_written():
    asked = "{% if loop.last and add_generation_prompt %} ASSISTANT:{% endif %}"
    source = INSIDE.replace("{% endif %}{% endfor %}", asked + "{% endif %}{% endfor %}")
    reading = read(source, [user("q1"), assistant("a1")], prompted=True)
    assert bracketed(reading.text, spans_of(reading)) == "USER: q1 ASSISTANT:⟦ a1</s>⟧ ASSISTANT:"


def test_a_template_that_writes_messages_out_of_sight_is_refused():
    with pytest.raises(ValueError, match="message 2 .*cannot be located"):
        read(MACRO, [user("q"), assistant("a")])


def test_no_row_depends_on_another_row():
    """What a row is read as by a finder that has read others, in any order, is what it is read as alone."""
    source = trl_template("qwen3")
    chats = [
        [user("q"), assistant(text), user("q2"), assistant("y")] for text in ("x", " ", "<think>r</think>x", "</think>")
    ]

    def outcome(finder, chat):
        try:
            reading = finder.read(normal_messages(chat))
        except ValueError as error:
            return str(error)
        return bracketed(reading.text, spans_of(reading))

    alone = [outcome(finder_of(source), chat) for chat in chats]
    for order in (chats, chats[::-1]):
        finder = finder_of(source)
        together = [outcome(finder, chat) for chat in order]
        assert together == (alone if order is chats else alone[::-1])


def test_what_a_template_sets_for_one_chat_is_gone_for_the_next_even_if_it_refused_the_chat():
    template = ChatTemplate(
        "{% if messages[0]['content'] == 'set' %}{% set seen = 'seen' %}{% endif %}{{ seen }}"
        "{% for m in messages %}[{{ m['content'] }}]"
        "{% if m['content'] == 'bad' %}{{ raise_exception('no') }}{% endif %}"
        "{% endfor %}",
        TOKENS,
    )
    assert template.trace([user("set")]).text == "seen[set]"
    assert template.trace([user("a")]).text == "[a]"
    with pytest.raises(TemplateError):
        template.trace([user("set"), user("bad")])
    assert template.trace([user("a")]).text == "[a]"


def test_a_message_that_stands_twice_in_a_chat_is_two():
    twice = user("a")
    template = ChatTemplate("{% for m in messages %}[{{ m['content'] }}]{% endfor %}", TOKENS)
    assert template.trace([twice, twice]).written == {0: [(0, 3)], 1: [(3, 6)]}


@pytest.mark.parametrize(("name", "tools"), [("llama3", None), ("qwen3", None), ("qwen2_5", TOOLS)])
def test_the_work_grows_with_the_length_of_a_chat_and_no_faster(name, tools):
    """Sixteen times the messages take about sixteen times the work, with tools as well, and not 16² times."""
    finder = finder_of(trl_template(name))

    def work(messages):
        chat = (CALLED if tools else [user("word " * 20), assistant("word " * 20)]) * (messages // (4 if tools else 2))
        chat = normal_messages([dict(message) for message in chat])
        readings = []
        lines = lines_executed(lambda: readings.append(finder.read(chat, False, normal_tools(tools))))
        assert len(readings[0].turns) == messages // 2
        return lines

    work(16)  # what a template is asked once
    assert work(1600) < 20 * work(100)
