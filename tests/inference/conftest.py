"""A tiny model with random weights, tiny processed datasets, and how to run the two scripts on them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from heirloom.dataset_storage import SplitWriter
from heirloom.tokenizer_training import train_bpe

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SENTENCES = [
    f"{name} found a {thing}." for name in ("Ada", "Bo", "Cleo", "Dan", "Eva") for thing in ("kite", "red boat")
]
PROMPTS = 13  # no multiple of batch size or ranks


@dataclass(frozen=True)
class Place:
    """A folder with model/, chats/ and text/ (processed datasets)."""

    folder: Path

    def config(self, name: str, **sections: dict) -> Path:
        """Write a run file; JSON is YAML too."""
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps(sections))
        return file

    def run(self, *command: str | Path, ranks: int = 1, check: bool = True) -> subprocess.CompletedProcess:
        """Run a script to its end: itself as one rank, or under the launcher as two."""
        done = subprocess.run(
            self.command(*command, ranks=ranks),
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def command(self, script: str, *arguments: str | Path, ranks: int) -> list[str]:
        launched = [SCRIPTS / "launch.py", "torchrun"] if ranks == 2 else []
        return [sys.executable, *map(str, (*launched, SCRIPTS / script, *arguments))]

    def inference(self, config: Path, output: str, model: str = "model") -> list[str | Path]:
        """Return the command line of the inference stage."""
        inputs = ["--checkpoint", self.folder / model, "--dataset", self.folder / "chats"]
        return [
            "inference.py",
            "--config",
            config,
            "--sections",
            "generation",
            *inputs,
            "--output",
            self.folder / output,
        ]

    def generations(self, output: str) -> list[dict]:
        lines = (self.folder / output / "generations.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEIRLOOM", "DVC"))}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def write_dataset(folder: Path, kind: str, columns: dict[str, str], rows: list[dict]) -> None:
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"kind": kind}))
    with SplitWriter(folder / "test", columns) as split:
        for row in rows:
            split.add(row)


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Place:
    folder = tmp_path_factory.mktemp("inference")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_bpe(SENTENCES, 280, ["<|end|>", "<|pad|>"]), eos_token="<|end|>", pad_token="<|pad|>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=280,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,  # answers that differ from prompt to prompt
        eos_token_id=0,
        pad_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    texts = [" ".join(SENTENCES[: 1 + index % 4]) + f" What did {index} find?" for index in range(PROMPTS)]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    chats = [
        {
            "input_ids": [*row, 9, 8, 0],
            "labels": [*[-100] * len(row), 9, 8, 0],
            "row_id": f"test.jsonl:{index + 1}",
            "prompt": text,
            "prompt_ids": row,
            "reference": "A kite.",
        }
        for index, (text, row) in enumerate(zip(texts, ids, strict=True))
    ]
    columns = {"row_id": "text", "prompt": "text", "prompt_ids": "ids", "reference": "text"}
    write_dataset(folder / "chats", "chat", {"input_ids": "ids", "labels": "ids", **columns}, chats)
    write_dataset(folder / "text", "text", {"input_ids": "ids"}, [{"input_ids": row} for row in ids])
    return Place(folder)
