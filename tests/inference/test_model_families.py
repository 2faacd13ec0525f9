"""What each shipped model file's architecture can do here: the table of docs/models.md is what two layers of it did."""

from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from heirloom.config.parsing.reading import read_yaml
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.peft import PeftSection
from heirloom.errors import HeirloomError
from heirloom.estimates.model_shape import ModelShape, model_shape
from heirloom.inference.engines import Engine, load_answerer
from heirloom.inference.prompts import read_prompts
from heirloom.rehearsal.two_layer_models import make_small
from heirloom.training.batches.document_isolation import check_documents_stay_apart
from heirloom.training.inputs.adapters import lora_config

ROOT = Path(__file__).resolve().parents[2]
FILES = {file.stem: read_yaml(file) for file in sorted((ROOT / "config/examples/models").glob("*.yaml"))}
TYPES = {
    name: file.get("shape", {"model_type": name[:7].replace("-", "_")})["model_type"] for name, file in FILES.items()
}
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
ENGINES = ("accelerate", "continuous")
PARAMETERS = {
    "gemma3-1b": 999_885_952,
    "llama3-2-1b": 1_235_814_400,
    "llama3-8b": 8_030_261_248,
    "mistral-7b": 7_248_023_552,
    "qwen3-0-6b": 596_049_920,
}
"""As their makers' cards have them."""


@pytest.fixture(scope="module")
def two_layers(place, tmp_path_factory):
    """Return how to make a checkpoint with two layers of an architecture and the place's tokenizer, each once."""
    folder = tmp_path_factory.mktemp("families")

    def make(kind: str) -> Path:
        if not (folder / kind).exists():
            torch.manual_seed(0)
            special = {"eos_token_id": 0, "pad_token_id": 1, "bos_token_id": None}
            config = AutoConfig.for_model(kind, vocab_size=280, dtype="float32", **special)
            make_small(config)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder / kind)
            AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(folder / kind)
        return folder / kind

    return make


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_are_those_of_the_published_model(name):
    shape = model_shape(FILES[name]["shape"])
    assert isinstance(shape, ModelShape) and shape.parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_model_is_pinned(name):
    revision = FILES[name]["source"]["revision"]
    assert len(revision) == 40 and int(revision, 16)


def test_the_table_says_what_two_layers_of_each_did(place, two_layers):
    text = (ROOT / "docs/models.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = {
        cells[0].strip("`"): cells[1:] for cells in ([each.strip() for each in line.split("|")[1:-1]] for line in lines)
    }
    found = {name: row_of(FILES[name], two_layers(kind), place) for name, kind in TYPES.items()}
    assert rows == found


def row_of(file: dict, checkpoint: Path, place) -> list[str]:
    """Return a row of the table, as the doc writes it."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    source, kind = file["source"], model.config.model_type
    attention = model.config._attn_implementation
    return [
        f"{source['hub']}@{source['revision'][:7]}",
        f"`{kind}`",
        f"`{attention}`",
        "✓" if keeps_documents_apart(model) else "–",
        adapted(model),
        *(served(checkpoint, engine, place) for engine in ENGINES),
        "✓" if "shape" in file else "–",
    ]


def keeps_documents_apart(model) -> bool:
    collator = DataCollatorForLanguageModeling(pad_token_id=1, padding_free=True)
    try:
        check_documents_stay_apart(model, collator, torch.device("cpu"))
    except HeirloomError:
        return False
    return True


def adapted(model) -> str:
    """Return what `all-linear` adapts, and how experts get an adapter."""
    joined = any(name.endswith(EXPERTS[0]) for name, _ in model.named_parameters())
    section = PeftSection(r=2, target_parameters=EXPERTS if joined else [])
    adapter = get_peft_model(model, lora_config(section, model))
    names = [name.partition(".lora_A")[0] for name, _ in adapter.named_parameters() if ".lora_A." in name]
    layers = {name.rpartition(".")[2] for name in names if name.endswith(("_proj", "router"))}
    words = ", ".join(sorted(layer.removesuffix("_proj") for layer in layers))
    return f"{words}; experts by `target_parameters`" if joined else words


def served(checkpoint: Path, engine: str, place) -> str:
    """Return whether an engine answers by it with the model's own numbers, which it checks itself."""
    ranks = PartialState(cpu=True)
    options = GenerationSection.model_validate({"max_new_tokens": 4, "engine": engine})
    try:
        answered = Engine(load_answerer(checkpoint, options, ranks), read_prompts(place.folder / "chats", 4), ranks)
        assert sum(1 for rows in answered.answers(set()) for _ in rows) == 4
    except HeirloomError:
        return "–"
    return "✓"
