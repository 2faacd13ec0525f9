"""A small project that is right, for tests to break one thing in it."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from heirloom.config.parsing.mistakes import ConfigErrors
from heirloom.config.project import Project, load_project

RIGHT = {
    "config/deepspeed/zero2.json": '{"train_micro_batch_size_per_gpu": "auto", "zero_optimization": {"stage": 2}}\n',
    "config/chat_templates/plain.jinja": "{{ messages }}\n",
    "config/models/tiny.yaml": """\
        tokenizer: {train_on: text, vocab_size: 512, chat_template: config/chat_templates/plain.jinja}
        init: {model_type: llama, hidden_size: 96}
        """,
    "config/models/big.yaml": """\
        source: {hub: owner/big, revision: 0123456789abcdef0123456789abcdef01234567}
        """,
    "config/datasets/text.yaml": """\
        tokenizer: tiny
        source: {generator: demo, part: text, rows: 100}
        processing: {processing_function: plain_text_processing_function, max_length: 128, packed: true}
        """,
    "config/datasets/chats.yaml": """\
        tokenizer: tiny
        source: {generator: demo, part: chats, rows: 100}
        processing: {processing_function: dummy_processing_function, max_length: 128}
        """,
    "config/datasets/pairs.yaml": """\
        tokenizer: tiny
        source: {generator: demo, part: preferences, rows: 100}
        processing:
          processing_function: dummy_rlhf_processing_function
          max_length: 128
          max_prompt_length: 64
        """,
    "config/datasets/both.yaml": """\
        tokenizer: tiny
        mixture:
          datasets:
            chats: 0.7
            more-chats: 0.3
        """,
    "config/datasets/more-chats.yaml": """\
        tokenizer: tiny
        source: {path: data/mine.jsonl}
        processing: {processing_function: "my_rows:shorten", kind: chat, max_length: 128}
        """,
    "config/runs/pretrain.yaml": """\
        base: tiny
        dataset: text
        trainer: trainer
        deepspeed: zero2
        training:
          global_batch_size: 64
          learning_rate: 1e-3
        evaluation: {metrics: [perplexity]}
        """,
    "config/runs/sft.yaml": """\
        base: pretrain
        dataset: both
        trainer: sft
        training:
          global_batch_size: 64
          learning_rate: 1e-4
        generation: {max_new_tokens: 16}
        evaluation: {metrics: [exact_match]}
        """,
    "config/runs/dpo.yaml": """\
        base: sft
        dataset: pairs
        trainer: dpo
        training:
          global_batch_size: 64
          learning_rate: 1e-5
          loss_type: [sigmoid]
        generation: {dataset: chats}
        evaluation: {metrics: [exact_match]}
        """,
    "data/mine.jsonl": "{}\n",
    "my_rows.py": "def shorten(row):\n    return row\n",
}


class Workplace:
    """A project folder: write files, load, see what is said."""

    def __init__(self, root: Path):
        self.root = root
        for path, text in RIGHT.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))

    def change(self, path: str, old: str, new: str) -> None:
        """Replace text in a file; `old` must be there."""
        file = self.root / path
        text = file.read_text()
        assert old in text, f"{path} holds no {old!r}"
        file.write_text(text.replace(old, new))

    def load(self, cache: Path | None = None) -> Project:
        return load_project(self.root, cache)

    def mistakes(self, cache: Path | None = None) -> list[str]:
        """Return what is said when loading fails, a line each."""
        with pytest.raises(ConfigErrors) as caught:
            self.load(cache)
        return str(caught.value).splitlines()


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def section_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a YAML file and return its path."""

    def write(text: str) -> Path:
        file = tmp_path / "file.yaml"
        file.write_text(dedent(text))
        return file

    return write
