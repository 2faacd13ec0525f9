"""A project with checkpoints of tiny models, as trainings leave them, and the runs that they belong to."""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tiny_place import Place
from transformers import AutoModelForCausalLM, AutoTokenizer
from working_tree import copy_working_tree

from heirloom.json_files import write_json

TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
RUN = {
    "base": "demo-tiny",
    "dataset": "demo-chat",
    "trainer": "sft",
    "training": {"max_steps": 1, "global_batch_size": 16},
}
RUN |= {"generation": {"max_new_tokens": 8}}


def make_project(place: Place, folder: Path) -> Path:
    """Make a project with the checkpoints of `whole`, an adapter `tuned` in 32 bits and `narrow` in 16."""
    copy_working_tree(folder)
    shutil.copytree(place.folder / "chats", folder / "data/processed/demo-chat")
    made_checkpoint(place.folder / "model", folder / "checkpoints/whole", {})
    write_json(folder / "checkpoints/whole/trainer_state.json", {})
    shutil.copytree(place.folder / "base", folder / "models/demo-tiny")
    peft = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    made_adapter(folder, "tuned", "models/demo-tiny", "float32")
    model = AutoModelForCausalLM.from_pretrained(place.folder / "base", dtype=torch.bfloat16)
    shutil.copytree(place.folder / "base", folder / "checkpoints/rounded")
    model.save_pretrained(folder / "checkpoints/rounded")
    made_adapter(folder, "narrow", "checkpoints/rounded", "bfloat16")
    for name, more in (
        ("whole", {}),
        ("untrained", {}),
        ("rounded", {}),
        ("tuned", {"peft": peft}),
        ("narrow", {"peft": peft, "base": "rounded"}),
    ):
        (folder / f"config/runs/{name}.yaml").write_text(json.dumps(RUN | more))
    return folder


def made_checkpoint(model: Path, checkpoint: Path, facts: dict) -> None:
    """Make a folder as a training leaves it of a model: with chat template, card and facts."""
    shutil.copytree(model, checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(checkpoint)
    (checkpoint / "README.md").write_text(f"---\nlibrary_name: transformers\n---\n\n# {checkpoint.name}\n")
    write_json(checkpoint / "heirloom.json", {"trainer": "sft", **facts})


def made_adapter(folder: Path, name: str, base: str, dtype: str) -> None:
    """Make the checkpoint of an adapter with weights that change every answer."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder / base, dtype="auto")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base
    checkpoint = folder / "checkpoints" / name
    made_checkpoint(folder / base, checkpoint, {"base": {"path": base, "dtype": dtype, "pad_token_id": 1}})
    for file in ("model.safetensors", "config.json"):
        (checkpoint / file).unlink()
    adapted.save_pretrained(checkpoint, save_embedding_layers=False)
