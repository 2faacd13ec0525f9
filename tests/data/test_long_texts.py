"""Long texts piece by piece: the tokens of the whole, in the memory of the ids; and BOS once."""

import json
import subprocess
import sys

import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from heirloom.data.rows import long_texts
from heirloom.data.rows.long_texts import LongText
from heirloom.data.rows.truncation import Packer

WORDS = (
    "What is the capital of France? The capital of France is Paris. 日本語のテキスト می‌خواهم 👨‍👩 e\u0301 don't 12\n\n"
)


@pytest.fixture(scope="module", params=["bytes", "pieces"])
def core(request):
    """A tokenizer that splits texts at words, or one that takes a text as one piece."""
    if request.param == "bytes":
        made = Tokenizer(models.BPE())
        made.normalizer, made.pre_tokenizer = normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    else:
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        special = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, max_token_length=8)
    made.train_from_iterator([WORDS] * 4, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return made


@pytest.mark.parametrize("extra", ["", " " * 3000, "a" * 5001], ids=["words", "spaces", "one letter"])
@pytest.mark.parametrize("added", [True, False])
def test_pieces_are_the_tokens_of_the_whole(core, monkeypatch, extra, added):
    monkeypatch.setattr(long_texts, "WINDOW", 700)
    monkeypatch.setattr(long_texts, "OVERLAP", 200)
    whole_texts = []

    def encode(text, add_special_tokens):
        whole_texts.append(len(text))
        return core.encode(text, add_special_tokens=add_special_tokens)

    text = WORDS * 20 + extra + WORDS[7:] * 20
    expected, found = core.encode(text, add_special_tokens=added), LongText(encode, text, added, True)
    assert found.ids.tolist() == expected.ids and found.ids.dtype == np.int32
    assert [tuple(span) for span in found.offsets.tolist()] == expected.offsets
    assert max(whole_texts) < 1000 or extra == "a" * 5001  # only there two windows may not agree


@pytest.mark.parametrize("kind", ["plain", "packed", "chat", "template"])
def test_a_long_text_gives_the_same_rows(process, write_jsonl, tokenizer_folder, monkeypatch, kind, tmp_path):
    text = "What is the capital of France? The capital is Paris. " * 60
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    keys = {
        "plain": {"processing_function": "plain_text_processing_function", "max_length": 100},
        "packed": {"processing_function": "plain_text_processing_function", "max_length": 100, "packed": True},
        "template": {
            "processing_function": "plain_text_processing_function",
            "train_on": {"response_template": "The capital", "instruction_template": "What is"},
        },
        "chat": {"processing_function": "dummy_processing_function", "chat_template": str(tmp_path / "t.jinja")},
    }[kind]
    row = {"text": text, "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    rows = [{"text": "What is it? The capital.", "messages": row["messages"]}, row]
    made = []
    for name, longest in (("whole", 10**9), ("pieces", 1000)):
        for module in ("dataset_creation", "rows.token_positions"):
            monkeypatch.setattr(f"heirloom.data.{module}.LONG", longest)
        monkeypatch.setattr(long_texts, "WINDOW", 700)
        monkeypatch.setattr(long_texts, "OVERLAP", 200)
        folder, statistics = process(write_jsonl(rows), name=f"{name}/processed", **{"max_length": 4000, **keys})
        made.append(([dict(row) for row in datasets.load_from_disk(str(folder / "train"))], statistics))
    assert made[0] == made[1] and made[0][0]


def test_a_packer_cuts_what_it_is_given():
    packer, given, rows = Packer(4), [], []
    for size in (1, 2, 9, 0, 4, 3):
        ids = np.arange(len(given), len(given) + size, dtype=np.int32)
        given += ids.tolist()
        rows += [row.tolist() for row in packer.add(ids)]
    assert rows == [given[start : start + 4] for start in range(0, 16, 4)] and packer.rest.tolist() == given[16:]


MEASURE = """
import functools, re, sys
from pathlib import Path
from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.dataset_creation import Creation
from heirloom.data.rows.tokenization import Tokenizer

tokenizer, folder = Tokenizer(Path(sys.argv[1])), Path(sys.argv[2])
tokenizer.positions.encode_tracked = functools.cache(tokenizer.positions.encode_tracked)  # windows are alike: for speed
for name in ("short", "long"):
    section = ProcessingSection(processing_function="plain_text_processing_function", max_length=2048)
    Creation(folder / f"{name}.jsonl", tokenizer, section, None, name).write(folder / name)
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_a_long_document_takes_three_times_its_bytes(tokenizer_folder, tmp_path):
    """In whatever script."""
    sentence = "Столица Франции называется Париж, а Италии — Рим, это верно. "[1:]
    assert (long_texts.WINDOW - long_texts.OVERLAP) % len(sentence) == 0
    text = sentence * 90_000
    for name, content in (("short.jsonl", [text[:300_000]]), ("long.jsonl", [text])):
        lines = (json.dumps({"text": each}, ensure_ascii=False) + "\n" for each in content)
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-c", MEASURE, str(tokenizer_folder), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "scripts"})
    base, peak = (int(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("peak"))
    bound = 3 * len(text.encode()) / 1024 + 12_000  # KB; the allocator keeps some MB of what it gave back
    assert 0 < peak - base < bound


@pytest.mark.parametrize("text", ["hello", "<s>hello", "<s><s>hello"])
@pytest.mark.parametrize(
    ("function", "row", "column"),
    [
        ("plain_text_processing_function", lambda text: {"text": text}, "input_ids"),
        ("seq2seq_processing_function", lambda text: {"source": text, "target": "x"}, "input_ids"),
        (
            "dummy_rlhf_processing_function",
            lambda text: {"prompt": text, "chosen": " x", "rejected": " y"},
            "prompt_ids",
        ),
    ],
)
def test_bos_stands_once(process, write_jsonl, tmp_path, tokenizer_folder, text, function, row, column):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    tokenizer.save_pretrained(tmp_path / "adding")
    folder, _ = process(write_jsonl([row(text)]), tmp_path / "adding", processing_function=function)
    (made,) = datasets.load_from_disk(str(folder / "train"))
    assert made[column][0] == bos and made[column].count(bos) == 1
