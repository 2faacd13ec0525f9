"""Masks against hand-written expectations: ⟦ ⟧ stand around what is trained on."""

from importlib.resources import files

import chat_templates
import datasets
import pytest
from transformers import AutoTokenizer

from heirloom.errors import HeirloomError

TALK = [
    {"role": "user", "content": "How many legs does a spider have?"},
    {"role": "assistant", "content": "A spider has eight legs."},
    {"role": "user", "content": " Is that all? "},
    {"role": "assistant", "content": "Yes, that is all."},
]
SPACED = [
    *TALK[:1],
    {"role": "assistant", "content": "  Eight.\n"},
    *TALK[2:3],
    {"role": "assistant", "content": "\nYes. "},
]
SYSTEM = [{"role": "system", "content": "You are a helpful assistant."}, *TALK[:2]]
THINKING = [
    {"role": "user", "content": "How many legs?"},
    {"role": "assistant", "content": "<think>\nLet me think.\n</think>\n\nEight."},
    {"role": "user", "content": "Is that all?"},
    {"role": "assistant", "content": "<think>\nabout it\n</think>\n\nYes."},
]

# fmt: off
EXPECTED = [
    ("LLAMA3", TALK,
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHow many legs does a spider have?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n⟦A spider has eight legs.<|eot_id|>⟧"
     "<|start_header_id|>user<|end_header_id|>\n\nIs that all?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Yes, that is all.<|eot_id|>⟧"),
    ("LLAMA3", SPACED,
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHow many legs does a spider have?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Eight.<|eot_id|>⟧"
     "<|start_header_id|>user<|end_header_id|>\n\nIs that all?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Yes.<|eot_id|>⟧"),
    ("CHATML", TALK,
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"
     "<|im_start|>user\n Is that all? <|im_end|>\n"
     "<|im_start|>assistant\n⟦Yes, that is all.<|im_end|>⟧\n"),
    ("CHATML", SYSTEM,
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"),
    ("CHATML", SPACED,
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦  Eight.\n<|im_end|>⟧\n"
     "<|im_start|>user\n Is that all? <|im_end|>\n"
     "<|im_start|>assistant\n⟦\nYes. <|im_end|>⟧\n"),
    ("MISTRAL", TALK,
     "<s>[INST] How many legs does a spider have? [/INST]⟦ A spider has eight legs.</s>⟧"
     "[INST]  Is that all?  [/INST]⟦ Yes, that is all.</s>⟧"),
    ("MISTRAL", SYSTEM,
     "<s>[INST] You are a helpful assistant.\n\nHow many legs does a spider have? [/INST]"
     "⟦ A spider has eight legs.</s>⟧"),
    ("GEMMA", SPACED,
     "<bos><start_of_turn>user\nHow many legs does a spider have?<end_of_turn>\n"
     "<start_of_turn>model\n⟦Eight.<end_of_turn>⟧\n"
     "<start_of_turn>user\nIs that all?<end_of_turn>\n"
     "<start_of_turn>model\n⟦Yes.<end_of_turn>⟧\n"),
    ("REASONING", THINKING,
     "<|im_start|>user\nHow many legs?<|im_end|>\n<|im_start|>assistant\n⟦Eight.<|im_end|>⟧\n"
     "<|im_start|>user\nIs that all?<|im_end|>\n"
     "<|im_start|>assistant\n⟦<think>\nabout it\n</think>\n\nYes.<|im_end|>⟧\n"),
    ("REASONING", TALK,
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"
     "<|im_start|>user\n Is that all? <|im_end|>\n"
     "<|im_start|>assistant\n⟦<think>\n\n</think>\n\nYes, that is all.<|im_end|>⟧\n"),
    ("ALPACA", TALK,
     "### Instruction:\nHow many legs does a spider have?\n\n### Response:\n⟦A spider has eight legs.⟧\n\n"
     "### Instruction:\n Is that all? \n\n### Response:\n⟦Yes, that is all.\n\n</s>⟧"),
    ("PHI", TALK,
     "<|user|>\nHow many legs does a spider have?<|end|>\n<|assistant|>\n⟦A spider has eight legs.<|end|>⟧\n"
     "<|user|>\n Is that all? <|end|>\n<|assistant|>\n⟦Yes, that is all.<|end|>\n<|endoftext|>⟧"),
    ("DROPPING", THINKING,
     "<s><|user|>How many legs?<|assistant|>⟦\n\nEight.</s>⟧<|user|>Is that all?<|assistant|>⟦\n\nYes.</s>⟧"),
    ("NO_PROMPT", TALK[:2],
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"),
    ("gemma3", SYSTEM,
     "<bos><start_of_turn>user\nYou are a helpful assistant.\n\nHow many legs does a spider have?<end_of_turn>\n"
     "<start_of_turn>model\n⟦A spider has eight legs.<end_of_turn>⟧\n"),
    ("gptoss", TALK,
     "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
     "Current date: 2024-07-26\n\nReasoning: medium\n\n"
     "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
     "<|start|>user<|message|>How many legs does a spider have?<|end|>"
     "<|start|>assistant⟦<|channel|>final<|message|>A spider has eight legs.<|end|>⟧"
     "<|start|>user<|message|> Is that all? <|end|>"
     "<|start|>assistant⟦<|channel|>final<|message|>Yes, that is all.<|return|>⟧"),
    ("llama3_2", SYSTEM,
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
     "Today Date: 26 Jul 2024\n\nYou are a helpful assistant.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHow many legs does a spider have?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n⟦A spider has eight legs.<|eot_id|>⟧"),
    ("qwen3", TALK,
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n<|im_start|>user\n Is that all? <|im_end|>\n"
     "<|im_start|>assistant\n⟦<think>\n\n</think>\n\nYes, that is all.<|im_end|>⟧\n"),
    ("GENERATION", TALK[:2],
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"),
]
# fmt: on


@pytest.fixture
def masked_text(process, write_jsonl, tmp_path, tokenizer_folder):
    """Return a function: chats and settings → the processed rows as text, with ⟦ ⟧ around what is trained on."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    def masked(chats, template, **keys):
        file = tmp_path / "template.jinja"
        file.write_text(template, encoding="utf-8")
        raw = write_jsonl([{"messages": chat} for chat in chats])
        settings = {"processing_function": "dummy_processing_function", "chat_template": str(file), **keys}
        folder, _ = process(raw, **settings)
        return [with_brackets(tokenizer, row) for row in datasets.load_from_disk(str(folder / "train"))]

    return masked


def with_brackets(tokenizer, row) -> str:
    text, inside = "", False
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (token, -100)
        if (label != -100) != inside:
            text, inside = text + ("⟧" if inside else "⟦"), not inside
        text += tokenizer.decode([token])
    return text + ("⟧" if inside else "")


@pytest.mark.parametrize(
    ("name", "chat", "expected"),
    EXPECTED,
    ids=lambda value: value if isinstance(value, str) and len(value) < 12 else "",
)
def test_masks_are_those_written_by_hand(masked_text, name, chat, expected):
    """Names in small letters are real templates of models, as TRL ships them."""
    template = getattr(chat_templates, name) if name.isupper() else real_template(name)
    assert masked_text([chat], template) == [expected]


def real_template(name: str) -> str:
    """Return a template with the token that begins texts in its own tokenizer."""
    begin = "<bos>" if name == "gemma3" else "<|begin_of_text|>"
    text = (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    return text.replace("{{ bos_token }}", begin).replace("{{- bos_token }}", begin)


@pytest.mark.parametrize("name", ["LLAMA3", "CHATML", "MISTRAL", "GEMMA", "REASONING", "PHI", "DROPPING"])
def test_a_row_gives_the_same_masks_after_any_other_rows(masked_text, name):
    chats = [TALK, SPACED, THINKING, TALK[:2], THINKING[:2], SPACED[:2], TALK]
    template = getattr(chat_templates, name)
    assert masked_text(chats, template) == masked_text(chats[::-1], template)[::-1]


def test_only_the_last_answer_or_everything_is_trained_on(masked_text):
    (last,) = masked_text([TALK], chat_templates.CHATML, train_on="last_assistant")
    assert last.count("⟦") == 1
    assert last.endswith("<|im_start|>assistant\n⟦Yes, that is all.<|im_end|>⟧\n")
    (everything,) = masked_text([TALK], chat_templates.CHATML, train_on="all")
    assert everything == f"⟦{last.replace('⟦', '').replace('⟧', '')}⟧"


@pytest.mark.parametrize("as_ids", [False, True])
def test_masks_by_response_and_instruction_template(masked_text, tokenizer_folder, as_ids):
    """As text and as comma-separated ids, for one answer and for all."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    def form(text):
        return ",".join(map(str, tokenizer.encode(text, add_special_tokens=False))) if as_ids else text

    header = "<|start_header_id|>{}<|end_header_id|>"
    response, instruction = form(header.format("assistant")), form(header.format("user"))
    (both,) = masked_text(
        [TALK],
        chat_templates.LLAMA3,
        train_on={"response_template": response, "instruction_template": instruction},
    )
    assert both == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHow many legs does a spider have?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>⟦\n\nA spider has eight legs.<|eot_id|>⟧"
        "<|start_header_id|>user<|end_header_id|>\n\nIs that all?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>⟦\n\nYes, that is all.<|eot_id|>⟧"
    )
    (last,) = masked_text([TALK], chat_templates.LLAMA3, train_on={"response_template": response})
    assert last.count("⟦") == 1 and last.endswith("⟦\n\nYes, that is all.<|eot_id|>⟧")


def test_a_response_template_is_found_whatever_tokens_its_words_become(masked_text):
    """`### Response:` before a newline is other tokens than alone: looking for its ids would mask everything."""
    train_on = {"response_template": "### Response:\n", "instruction_template": "### Instruction:"}
    (text,) = masked_text([TALK], chat_templates.ALPACA, train_on=train_on)
    assert text.count("⟦") == 2 and "### Response:\n⟦A spider has eight legs.\n\n⟧### Instruction:" in text


def test_a_turn_that_cannot_be_located_is_refused_with_its_place(masked_text):
    with pytest.raises(HeirloomError, match=r"train.jsonl:1: .*message 2 .*cannot be located.*generation"):
        masked_text([TALK], chat_templates.UNLOCATABLE)


@pytest.mark.parametrize("chat", [TALK[:1], [{"role": "user", "content": ""}]])
def test_a_chat_without_an_answer_is_refused(masked_text, chat):
    with pytest.raises(HeirloomError, match="no assistant turn"):
        masked_text([chat], chat_templates.CHATML)


def test_a_generation_prompt_at_the_end_is_not_trained_on(masked_text):
    (text,) = masked_text([TALK], chat_templates.GEMMA, add_generation_prompt=True)
    assert text.endswith("<start_of_turn>model\n⟦Yes, that is all.<end_of_turn>⟧\n<start_of_turn>model\n")


def test_characters_of_several_bytes_and_rare_ones_are_masked_exactly(masked_text):
    chat = [
        {"role": "user", "content": "Grüße 👩‍🚀?"},
        {"role": "assistant", "content": "Ça va 👍🏽 é\u0301 \u200b日本"},
    ]
    (text,) = masked_text([chat], chat_templates.PHI)
    # a token may hold a part of a character, so compare where the marks are, not the decoded text
    before, trained, after = text.replace("⟧", "⟦").split("⟦")
    assert before.endswith("<|assistant|>\n") and trained.endswith("<|end|>\n<|endoftext|>") and after == ""


def test_tool_calls_are_trained_on_with_their_turn(masked_text):
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m.tool_calls %}{{ m.tool_calls | tojson }}"
        "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "legs"}]}
    (text,) = masked_text([[TALK[0], call, {"role": "tool", "content": "8"}, TALK[1]]], template)
    assert text == (
        "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
        '<|im_start|>assistant\n⟦[{"name": "legs"}]<|im_end|>⟧\n<|im_start|>tool\n8<|im_end|>\n'
        "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"
    )


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
def test_rows_are_cut_on_the_side_that_is_asked_for(masked_text, mode):
    (whole,) = masked_text([TALK], chat_templates.CHATML)
    (cut,) = masked_text([TALK], chat_templates.CHATML, max_length=60, truncation_mode=mode)
    assert len(cut) < len(whole) and "⟦" in cut
    assert whole.startswith(cut.removesuffix("⟧")) if mode == "keep_start" else whole.endswith(cut.removeprefix("⟦"))


@pytest.mark.parametrize("name", ["LLAMA3", "CHATML", "MISTRAL", "REASONING", "DROPPING"])
def test_rendering_equals_transformers(tokenizer_folder, name):
    """The fast path, the rich path (tools, values of None) and transformers write the same text."""
    from heirloom.data.chats.chat_templates import ChatTemplate

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = source = getattr(chat_templates, name)
    template = ChatTemplate(source, dict(tokenizer.special_tokens_map))
    for chat in (TALK, SPACED, THINKING, TALK[:3], [{**message, "name": None} for message in TALK]):
        for prompted in (False, True):
            expected = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompted)
            assert template.render(chat, prompted) == expected


def test_a_template_that_writes_todays_date_writes_a_fixed_one(masked_text):
    template = "{{ strftime_now('%d %b %Y') }}" + chat_templates.PHI
    (text,) = masked_text([TALK[:2]], template)
    assert text.startswith("26 Jul 2024<|user|>")
