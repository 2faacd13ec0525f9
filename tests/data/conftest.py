"""What the data tests share: a small tokenizer trained here, and a way to run the scripts as a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm_start import warm_ranks

ROOT = Path(__file__).resolve().parents[2]

# The tokens that the tests' chat templates write.
SPECIAL = [
    *("<unk>", "<pad>", "<s>", "</s>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "[INST]", "[/INST]", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    *("<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>"),
    *("<|start|>", "<|channel|>", "<|message|>", "<|return|>"),
]
SENTENCES = [
    "What is the capital of France? The capital of France is Paris.",
    "How many legs does a spider have? A spider has eight legs, and two eyes or more.",
    "You are a helpful assistant. user system assistant model tool",
    "### Instruction: Write a poem. ### Response: Roses are red, violets are blue.\n\n",
    "Thanks! You are welcome. Is that all? Yes, that is all. Let me think about it: one, two, three.",
]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    """A byte-level BPE tokenizer with the special tokens of many chat templates; it adds none by itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        SENTENCES * 4, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def write_jsonl(tmp_path):
    """Return a function that writes rows to a .jsonl file of this test."""

    def write(rows, name="train.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def process(tmp_path, tokenizer_folder):
    """Return a function that processes raw data in this process and returns the folder and the statistics."""
    from heirloom.config.sections.processing import ProcessingSection
    from heirloom.data.dataset_creation import create_dataset

    def run(raw: Path, tokenizer: Path = tokenizer_folder, name: str = "processed", **keys):
        section = ProcessingSection.model_validate({"max_length": 512, **keys})
        output = tmp_path / name
        return output, create_dataset(raw, tokenizer, section, output)

    return run


@pytest.fixture
def run_script(tmp_path):
    """Return a function that runs a script of scripts/ in this test's folder, as a user does.

    Its libraries are loaded before, but where variables are given, which these read as they are loaded.
    """

    def run(script: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables}
        environment = {name: value for name, value in environment.items() if value}
        python = sys.executable if variables else warm_ranks()["PYTHON_EXEC"]
        command = [python, str(ROOT / "scripts" / script), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return run
