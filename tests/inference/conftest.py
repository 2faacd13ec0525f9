"""A tiny model with random weights and tiny processed datasets, made once; vLLM, installed once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from tiny_place import PAIRS, PROMPTS, SENTENCES, Place, write_dataset
from trained_project import make_project
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from heirloom.inference.vllm.environment import VARIABLE
from heirloom.models.tokenizer_training import train_bpe

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_SERVED = re.compile(r"No matching distribution|not found in the package registry|no version of|Failed to fetch")


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
    for name in ("model", "base"):
        LlamaForCausalLM(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
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
    pairs = [
        {
            "row_id": f"test.jsonl:{index + 1}",
            "prompt_ids": tokenizer(pair["prompt"])["input_ids"],
            **{f"{side}_ids": [*tokenizer(pair[side])["input_ids"], 0] for side in ("chosen", "rejected")},
        }
        for index, pair in enumerate(PAIRS)
    ]
    columns = {"row_id": "text", "prompt_ids": "ids", "chosen_ids": "ids", "rejected_ids": "ids"}
    write_dataset(folder / "pairs", "preference", columns, pairs)
    return Place(folder)


@pytest.fixture(scope="session")
def project(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with checkpoints, in which exports are made and from which models are served."""
    return make_project(place, tmp_path_factory.mktemp("trained") / "project")


@pytest.fixture(scope="session")
def wide(place: Place) -> Path:
    """A model whose heads have a size that vLLM's kernels for CPUs know."""
    folder = place.folder / "wide"
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(place.folder / "model", head_dim=32)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vllm() -> Path:
    """The environment, installed by make, once: it stays, as the environment that the tests run in does."""
    folder = Path(os.environ.get(VARIABLE) or f"{sys.prefix}-vllm")
    command = ["make", "setup-vllm", f"VLLM_VENV={folder}", f"PYTHON={sys.executable}"]
    with FileLock(f"{folder}.lock"):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode and NOT_SERVED.search(done.stderr):
        pytest.skip(f"the package index does not serve vLLM: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder
