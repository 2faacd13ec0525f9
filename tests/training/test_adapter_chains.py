"""Checkpoints that are adapters alone: trained, trained on, read and merged, in the folder where their paths start."""

import json

import pytest
import torch
from safetensors.torch import load_file
from training_workplace import ROOT, TRAINING, tree
from transformers import AutoModelForCausalLM

from heirloom.models.trained_checkpoints import load_model
from heirloom.models.weights import weights_hash

BASE = "runs/pretrain/checkpoint"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "modules_to_save": ["embed_tokens"]}
ON_IT = {"r": 2, "lora_alpha": 3}
FP4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_compute_dtype": "float32"}
JOBS = {
    # name: (script, dataset, base, sections)
    "sft": ("sft_train.py", "chat", BASE, {"peft": {**LORA, "merge": False}}),
    "sft-merged": ("sft_train.py", "chat", BASE, {"peft": {**LORA, "merge": True}}),
    "dpo": ("dpo_train.py", "preference", "{zero2}/sft", {"peft": {**ON_IT, "merge": False}}),
    "dpo-merged": ("dpo_train.py", "preference", "{zero2}/sft", {"peft": {**ON_IT, "merge": True}}),
    "dpo-on-merged": ("dpo_train.py", "preference", "{zero2}/sft-merged", {"peft": {**ON_IT, "merge": True}}),
    "dpo-fp4": ("dpo_train.py", "preference", "{zero2}/sft", {"peft": {"r": 2, "merge": False}, "quantization": FP4}),
    "whole": ("sft_train.py", "chat", "{zero2}/sft", {}),
    "refused": ("sft_train.py", "chat", "{zero2}/sft", {"peft": {"target_modules": ["embed_tokens"], "merge": False}}),
}
AT_ZERO3 = ("dpo", "dpo-on-merged", "dpo-fp4")


def job(workplace, name, zero):
    script, dataset, base, sections = JOBS[name]
    sections = {"training": {**TRAINING, "max_steps": 2}, **sections}
    base = f"{base.format(zero2='alone-zero2')}/checkpoint" if base != BASE else base
    words = workplace.training(script, f"alone-{zero}/{name}", zero=zero, dataset=dataset, base=base, **sections)[1:]
    if name == "whole":  # and without DeepSpeed
        at = words.index("--deepspeed")
        del words[at : at + 2]
    return {"arguments": words}


@pytest.fixture(scope="module")
def said(workplace, runs):
    """All of JOBS at ZeRO-2, some at ZeRO-3: what was printed."""
    found = workplace.torchrun("many_trainings.py", [job(workplace, name, "zero2") for name in JOBS])
    return found + workplace.torchrun("many_trainings.py", [job(workplace, name, "zero3") for name in AT_ZERO3])


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.arange(3, 35).reshape(2, 16)).logits  # (B, T, V)


def test_an_adapter_alone_stands_for_the_merged_model(workplace, said, monkeypatch):
    monkeypatch.chdir(workplace.folder)
    place = workplace.folder / "alone-zero2"
    alone, merged = (place / name / "checkpoint" for name in ("sft", "sft-merged"))
    settings = json.loads((alone / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == BASE
    facts = json.loads((alone / "heirloom.json").read_text())["base"]
    whole = workplace.folder / BASE
    assert facts == {"path": BASE, "weights": weights_hash(whole), "dtype": "float32", "pad_token_id": 0}
    assert not {"config.json", "model.safetensors"} & {file.name for file in alone.iterdir()}
    expected = logits(AutoModelForCausalLM.from_pretrained(merged))
    torch.testing.assert_close(logits(load_model(alone, "auto")), expected, atol=0, rtol=0)
    plain = AutoModelForCausalLM.from_pretrained("alone-zero2/sft/checkpoint")
    torch.testing.assert_close(logits(plain), expected, atol=1e-5, rtol=0)
    assert f"An adapter of `{BASE}`" in (alone / "README.md").read_text()
    workplace.run(str(ROOT / "scripts" / "merge_adapter.py"), "alone-zero2/sft/checkpoint", "written")
    written, by_training = tree(workplace.folder / "written"), tree(merged)
    assert [name for name in written if written[name] != by_training[name]] == []
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= written.keys()


@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_what_is_trained_on_an_adapter_is_what_is_trained_on_the_merged_model(workplace, said, zero, monkeypatch):
    """To the bit; and the checkpoint is both adapters as one, on the same whole model, to 1e-6."""
    monkeypatch.chdir(workplace.folder)
    place = workplace.folder / f"alone-{zero}"
    one, other = (json.loads((place / name / "metrics.json").read_text()) for name in ("dpo", "dpo-on-merged"))
    assert one == other
    settings = json.loads((place / "dpo/checkpoint/adapter_config.json").read_text())
    assert (settings["r"], settings["base_model_name_or_path"]) == (LORA["r"] + ON_IT["r"], BASE)
    expected = load_file(place / "dpo-on-merged/checkpoint/model.safetensors")
    found = load_model(place / "dpo/checkpoint", "auto").state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=1e-6)
    plain = AutoModelForCausalLM.from_pretrained(f"alone-{zero}/dpo/checkpoint")
    on_merged = AutoModelForCausalLM.from_pretrained(place / "dpo-on-merged/checkpoint")
    torch.testing.assert_close(logits(plain), logits(on_merged), atol=1e-5, rtol=0)
    assert json.loads((place / "dpo-fp4/checkpoint/heirloom.json").read_text())["base"]["dtype"] == "float32"


def test_the_merged_model_of_a_chain_is_the_same_whatever_its_base_was(workplace, said):
    first, second = (
        load_file(workplace.folder / f"alone-zero2/{name}/checkpoint/model.safetensors")
        for name in ("dpo-merged", "dpo-on-merged")
    )
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_whole_training_on_an_adapter_gives_a_whole_model(workplace, said):
    checkpoint = workplace.folder / "alone-zero2/whole/checkpoint"
    AutoModelForCausalLM.from_pretrained(checkpoint)
    assert not (checkpoint / "adapter_config.json").exists()


def test_what_no_one_adapter_can_hold_is_told_before_the_first_step(said):
    refused = {line for line in said.splitlines() if "refused: " in line}  # by each rank
    assert len(refused) == 1 and "one trains embed_tokens whole and the other adapts it" in refused.pop()


def test_nothing_of_a_base_that_was_put_together_is_left(workplace, said):
    assert list(workplace.folder.glob("alone-*/*/.*.partial")) == []
