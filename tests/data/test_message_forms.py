"""Messages, calls and tools in the forms that datasets write them, and what a template leaves out of them."""

import json

import chat_templates
import datasets
import pyarrow
import pyarrow.parquet
import pytest
from trained_spans import CALLED, TOOLS, WEATHER, assistant, calling, read, tool, trained, trl_template, user

from heirloom.data.chats.message_forms import normal_messages, normal_tools
from heirloom.data.raw.raw_files import RawFile, read_rows
from heirloom.data.rows.processing import (
    dummy_processing_function,
    instruction_processing_function,
    sharegpt_processing_function,
)
from heirloom.errors import HeirloomError

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>'
AS_TEXT = {"name": "weather", "arguments": '{"city": "Rome"}'}


@pytest.mark.parametrize(
    "message",
    [
        calling(content=None),
        calling(AS_TEXT),
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": AS_TEXT}]},
        {"role": "assistant", "content": "", "tool_calls": [WEATHER]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "parameters": {"city": "Rome"}}]},
        {"role": "assistant", "content": "", "tool_calls": json.dumps([WEATHER])},
        {"role": "assistant", "content": None, "function_call": AS_TEXT},
        {"role": "assistant", "content": [{"type": "tool_call", "value": json.dumps(WEATHER)}]},
        calling({**WEATHER, "x": None}, name=None, weight=None),
    ],
    ids=["null", "text", "no content", "bare", "parameters", "JSON", "function_call", "part", "nulls"],
)  # fmt: skip
def test_a_call_is_the_same_call_in_every_form(message):
    chat = [user("q"), message, {"role": "function", "name": "weather", "content": "sunny"}, assistant("It is sunny")]
    for name in ("qwen2_5", "qwen3", "qwen3_instruct_2507"):
        assert trained(trl_template(name), chat, TOOLS)[0] == CALL, name
    (call, _) = trained(trl_template("llama3_1"), chat, TOOLS)
    assert call == '{"name": "weather", "parameters": {"city": "Rome"}}<|eot_id|>'
    (call, _) = trained(trl_template("deepseekv3"), chat)  # which takes arguments as text only
    assert '```json\n{"city": "Rome"}\n```' in call


def test_texts_that_hold_json_stay_texts():
    text = '{"role": "user", "content": "[1, 2]"}'
    chat = [user(text), calling({"name": "weather", "arguments": {"city": text}}), tool(text), assistant(text)]
    reading = read(trl_template("qwen2_5"), chat, TOOLS)
    assert reading.text.count(text) == 3 and json.dumps({"city": text}) in reading.text


@pytest.mark.parametrize(
    "tools",
    [
        json.dumps(TOOLS),
        TOOLS[0],
        [TOOLS[0]["function"]],
        [json.dumps(TOOLS[0])],
        [{**TOOLS[0]["function"], "parameters": json.dumps(TOOLS[0]["function"]["parameters"])}],
        [{"name": "weather", "description": "tells it", "input_schema": TOOLS[0]["function"]["parameters"]}],
    ],
)
def test_tools_are_the_same_tools_in_every_form(tools):
    assert normal_tools(tools) == TOOLS


@pytest.mark.parametrize("tools", [None, [], "", "[]", " "])
def test_no_tools_are_none_in_every_form(tools):
    assert normal_tools(tools) is None


def test_a_python_function_is_a_tool():
    def weather(city: str) -> str:
        """
        Tells it.

        Args:
            city: where
        """

    (schema,) = normal_tools([weather])
    assert schema["function"]["name"] == "weather" and "city" in schema["function"]["parameters"]["properties"]


def test_sharegpt_calls_and_tools_reach_the_template():
    """As in LLaMA-Factory's glaive_toolcall: tools and calls are JSON texts."""
    row = {
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": json.dumps(WEATHER)},
            {"from": "observation", "value": "sunny"},
            {"from": "gpt", "value": "It is sunny"},
        ],
        "tools": json.dumps([TOOLS[0]["function"]]),
    }
    record = sharegpt_processing_function(row)
    reading = read(trl_template("qwen2_5"), record["messages"], record["tools"])
    assert json.dumps(TOOLS[0]) in reading.text and reading.trained_text(1) == CALL


PARTS = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo", "image": None}]


@pytest.mark.parametrize("parts", [PARTS, ["Hel", "lo"], [{"type": "text", "value": "Hello"}]])
def test_parts_of_a_content_are_its_text(parts):
    chat = [user("Hi"), assistant(parts)]
    assert trained(chat_templates.LLAMA3, chat) == ["Hello<|eot_id|>"]
    assert trained(trl_template("smolvlm"), chat) == [" Hello<end_of_utterance>"]  # takes parts only
    assert trained(trl_template("smolvlm"), [user("Hi"), assistant("Hello")]) == [" Hello<end_of_utterance>"]


def test_parts_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="message 1 .*part .*image_url: only text"):
        normal_messages([user([{"type": "image_url", "image_url": {"url": "x"}}]), assistant("a")])


def test_reasoning_parts_are_reasoning_and_what_a_tool_gives_is_json():
    chat = [
        *(user("q"), assistant([{"type": "reasoning", "value": "because"}, {"type": "text", "value": "a"}])),
        *(calling(), {"role": "tool", "content": {"sky": ["blue", None]}}, assistant("b")),
    ]
    messages = normal_messages(chat)
    assert (messages[1]["reasoning_content"], messages[1]["content"]) == ("because", "a")
    assert messages[3]["content"] == '{"sky": ["blue", null]}'


@pytest.mark.parametrize(
    ("source", "chat", "tools", "message"),
    [
        (chat_templates.LLAMA3, CALLED, None, "the call of 'weather' of message 2"),
        (chat_templates.LLAMA3, [user("q"), assistant("a")], TOOLS, r"the row's tools \(weather\)"),
        (
            trl_template("llama3_1"),
            [user("q"), calling(content="Let me look.")],
            TOOLS,
            "content of message 2 .*beside",
        ),
        (trl_template("qwen2_5"), [user("q"), assistant("a", reasoning="r")], None, "the reasoning of message 2"),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}</s>{% endfor %}",
            [{"role": "system", "content": "Be brief."}, user("q"), assistant("a")],
            None,
            "the content of message 1 ",
        ),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.tool_calls[0].function.arguments or '' if m.tool_calls else "
            "m.content }}{{ m.tool_calls[0].function.name if m.tool_calls }}</s>{% endfor %}",
            [user("q"), calling({"name": "f", "arguments": {"a": [1, {"b": True}]}})],
            None,
            None,
        ),
    ],
    ids=["call", "tools", "content beside a call", "reasoning", "system", "arguments without tojson"],
)
def test_what_a_template_drops_is_refused_or_written_in_another_form(source, chat, tools, message):
    if message is None:  # as Python source from an object, right from a text
        assert '{"a": [1, {"b": true}]}f</s>' in read(source, chat, tools).text
        return
    with pytest.raises(ValueError, match=message):
        read(source, chat, tools)


def rows_of(path):
    return [row for _, row in read_rows(RawFile(path, path.name, "train"))]


ARGUMENTS = [{"city": "Rome"}, {"a": 1, "b": [2, None], "c": {"d": "x"}}]
CALLING_ROWS = [
    {"messages": [user("q"), calling({"name": "f", "arguments": arguments}), assistant("a")], "tools": [{"name": "f"}]}
    for arguments in ARGUMENTS
]


def test_nulls_that_arrow_fills_in_are_left_out(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(CALLING_ROWS), tmp_path / "rows.parquet")
    read_back = rows_of(tmp_path / "rows.parquet")
    calls = [row["messages"][1]["tool_calls"][0]["function"]["arguments"] for row in read_back]
    assert calls == ARGUMENTS and read_back[0]["messages"][0] == user("q")


@pytest.mark.parametrize("saved", ["parquet", "arrow"])
def test_the_json_type_of_datasets_is_read(tmp_path, saved):
    """`datasets` chooses it for objects of different kinds: arguments, or whole messages."""
    mixed = [*CALLING_ROWS, {"messages": [user("{}"), calling({"name": "f", "arguments": {"a": "1"}}), assistant("3")]}]
    dataset = datasets.Dataset.from_list(mixed, on_mixed_types="use_json")
    assert "Json" in str(dataset.features)
    if saved == "parquet":
        dataset.to_parquet(tmp_path / "rows.parquet")
        files = [tmp_path / "rows.parquet"]
    else:
        dataset.save_to_disk(tmp_path / "saved")
        files = sorted((tmp_path / "saved").glob("data-*.arrow"))
    rows = [row for file in files for row in rows_of(file)]
    calls = [normal_messages(row["messages"])[1]["tool_calls"][0]["function"]["arguments"] for row in rows]
    assert calls == [*ARGUMENTS, {"a": "1"}]
    assert rows[2]["messages"][0]["content"] == "{}" and rows[2]["messages"][2]["content"] == "3"


def test_a_tokenizer_with_a_template_for_tools_uses_it_for_rows_with_tools(
    process, write_jsonl, tokenizer_folder, tmp_path
):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = {"default": chat_templates.CHATML, "tool_use": trl_template("qwen2_5")}
    tokenizer.save_pretrained(tmp_path / "two")
    plain = {"messages": [user("q"), assistant("a")]}
    raw = write_jsonl([plain, {"messages": CALLED, "tools": TOOLS}])
    folder, _ = process(raw, tokenizer=tmp_path / "two", processing_function="dummy_processing_function")
    texts = [tokenizer.decode(row["input_ids"]) for row in datasets.load_from_disk(str(folder / "train"))]
    assert "<tools>" not in texts[0] and "<tools>" in texts[1] and "<tool_call>" in texts[1]


FLAGGED = [user("q1"), assistant("a1"), user("q2"), assistant("a2")]


@pytest.mark.parametrize(
    "flag", [{"weight": 0}, {"loss_weight": 0.0}, {"loss": False}, {"trainable": False}, {"train": False}]
)
def test_flags_of_messages_are_obeyed(process, write_jsonl, template_file, flag):
    other = {key: type(value)(1) for key, value in flag.items()}
    chat = [FLAGGED[0] | flag, FLAGGED[1] | flag, FLAGGED[2], FLAGGED[3] | other]
    raw = write_jsonl([{"messages": chat}, {"messages": [message | flag for message in chat]}])
    folder, statistics = process(raw, processing_function="dummy_processing_function", chat_template=template_file)
    (row,) = datasets.load_from_disk(str(folder / "train"))
    labels = [label for label in row["labels"] if label != -100]
    assert statistics["train"]["dropped"] == {"no_turn_to_train_on": 1}
    alone = write_jsonl([{"messages": FLAGGED[2:]}], "alone.jsonl")
    folder, _ = process(alone, name="b", processing_function="dummy_processing_function", chat_template=template_file)
    assert labels == [label for label in datasets.load_from_disk(str(folder / "train"))[0]["labels"] if label != -100]


@pytest.mark.parametrize(
    ("keys", "number", "train_on", "message"),
    [
        ({"weight": 0.5}, 1, "assistant", "only 0 and 1"),
        ({"weight": 1}, 0, "assistant", r"message 1 \(user\) asks to be trained on"),
        ({"weight": 0}, 1, "all", "asks not to be trained on"),
        ({"train_detail": [{"begin_offset": 0}]}, 1, "assistant", "train_detail"),
        ({"weight": 1, "loss": False}, 1, "assistant", "both yes and no"),
    ],
)
def test_flags_that_cannot_be_obeyed_are_refused(process, write_jsonl, template_file, keys, number, train_on, message):
    chat = [message | keys if at == number else message for at, message in enumerate(FLAGGED)]
    settings = {"processing_function": "dummy_processing_function", "chat_template": template_file}
    with pytest.raises(HeirloomError, match=f"train.jsonl:1: .*{message}"):
        process(write_jsonl([{"messages": chat}]), train_on=train_on, **settings)


@pytest.fixture
def template_file(tmp_path) -> str:
    file = tmp_path / "chatml.jinja"
    file.write_text(chat_templates.CHATML, encoding="utf-8")
    return str(file)


EMPTY = [
    ("instruction", {"instruction": "x", "input": "", "output": ""}),
    ("instruction", {"instruction": "x", "output": "y", "history": [["q1", None]]}),
    ("dummy", {"messages": [user("q"), assistant("")]}),
    ("dummy", {"messages": [user("q"), assistant(" "), user("q2"), assistant("y")]}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": ""}]}),
]


@pytest.mark.parametrize(("function", "row"), EMPTY)
def test_empty_answers_are_counted_and_not_trained_on(process, write_jsonl, template_file, function, row):
    full = {
        "instruction": {"instruction": "x", "output": "y"},
        "dummy": {"messages": FLAGGED},
        "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    }[function]
    settings = {"processing_function": f"{function}_processing_function", "chat_template": template_file}
    _, statistics = process(write_jsonl([row, full]), **settings)
    assert statistics["train"]["dropped"] == {"empty_answer": 1} and statistics["train"]["rows_out"] == 1


def test_a_turn_without_an_end_token_in_any_row_is_told(process, write_jsonl, tmp_path, template_file, capsys):
    (tmp_path / "open.jinja").write_text("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}")
    raw = write_jsonl([{"messages": FLAGGED}])
    settings = {"processing_function": "dummy_processing_function"}
    process(raw, name="open", chat_template=str(tmp_path / "open.jinja"), **settings)
    assert "no row trains on a token that ends a turn" in capsys.readouterr().err
    process(raw, chat_template=template_file, **settings)
    assert "warning" not in capsys.readouterr().err


def test_references_are_what_the_model_should_write(process, write_jsonl, tmp_path):
    """Of a call the call, of an answer whose reasoning the template drops the answer."""
    thought = [user("q"), assistant("<think>r</think>Eight.")]
    write_jsonl([{"messages": CALLED[:2]}, {"messages": thought}], "raw/test.jsonl")
    write_jsonl([{"messages": FLAGGED}], "raw/train.jsonl")
    for name, template in (("call", "qwen2_5"), ("thought", "deepseek_r1_distill")):
        (tmp_path / f"{name}.jinja").write_text(trl_template(template), encoding="utf-8")
    settings = {"processing_function": "dummy_processing_function", "bad_rows": 1.0}
    called, _ = process(tmp_path / "raw", name="a", chat_template=str(tmp_path / "call.jinja"), **settings)
    references = datasets.load_from_disk(str(called / "test"))["reference"]
    assert references[0] == CALL.removesuffix("<|im_end|>") and references[1] == "<think>r</think>Eight."
    dropped, _ = process(tmp_path / "raw", name="b", chat_template=str(tmp_path / "thought.jinja"), **settings)
    assert list(datasets.load_from_disk(str(dropped / "test"))["reference"])[-1].startswith("Eight.")


@pytest.mark.parametrize(
    ("function", "row", "column"),
    [
        (instruction_processing_function, {"instruction": "x", "input": float("nan"), "output": "y"}, "'input'"),
        (instruction_processing_function, {"instruction": "x", "output": "y", "history": ["q"]}, "'history'"),
        (dummy_processing_function, {"messages": "[{"}, "'messages' must be JSON"),
    ],
)
def test_columns_of_another_kind_are_named(function, row, column):
    with pytest.raises(ValueError, match=column):
        function(row)


def test_messages_written_as_json_are_read():
    assert dummy_processing_function({"messages": json.dumps(FLAGGED)})["messages"] == FLAGGED
