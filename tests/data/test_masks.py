"""Masks against hand-written expectations: ⟦ ⟧ stand around what is trained on."""

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
     "<|user|>\n Is that all? <|end|>\n<|assistant|>\n⟦Yes, that is all.<|end|>⟧\n<|endoftext|>"),
    ("DROPPING", THINKING,
     "<s><|user|>How many legs?<|assistant|>⟦\n\nEight.</s>⟧<|user|>Is that all?<|assistant|>⟦\n\nYes.</s>⟧"),
    ("NO_PROMPT", TALK[:2],
     "<|im_start|>user\nHow many legs does a spider have?<|im_end|>\n"
     "<|im_start|>assistant\n⟦A spider has eight legs.<|im_end|>⟧\n"),
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
    assert masked_text([chat], getattr(chat_templates, name)) == [expected]


@pytest.mark.parametrize("name", ["LLAMA3", "CHATML", "MISTRAL", "GEMMA", "REASONING", "PHI", "DROPPING"])
def test_a_remembered_frame_gives_the_same_masks_as_no_memory(masked_text, name, monkeypatch):
    chats = [TALK, SPACED, THINKING, TALK[:2], THINKING[:2], SPACED[:2], TALK]
    template = getattr(chat_templates, name)
    remembered = masked_text(chats, template)
    monkeypatch.setattr("heirloom.turns.REMEMBERED_FRAMES", 0)
    assert remembered == masked_text(
        chats,
        template,
    )
