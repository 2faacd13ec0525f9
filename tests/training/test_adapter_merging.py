"""The checkpoint after a training with an adapter, without training one: what peft's own merge writes, file by file."""

import dataclasses
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from test_training_mistakes import command
from training_workplace import tree
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, Trainer, TrainingArguments

from heirloom.config.sections.peft import PeftSection
from heirloom.errors import HeirloomError
from heirloom.models.adapters import putting_together, shard_merging
from heirloom.models.trained_checkpoints import untie_adapted
from heirloom.models.weights import bytes_of_weights
from heirloom.records import machine_memory
from heirloom.training.checkpoints import host_memory, saving, saving_memory
from heirloom.training.checkpoints.adapter_saving import adapter_weights, merge, save_adapter
from heirloom.training.checkpoints.saving_memory import check_memory_for_saving, need_of_saving
from heirloom.training.inputs.adapters import lora_config

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SHAPE |= {"num_key_value_heads": 2, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FILE = "8KB"
"""Most of a weights file here, so that a tiny model has several."""
ATTENTION = {"target_modules": ["q_proj", "up_proj"]}
ATTENTION_ALONE = {"target_modules": ["q_proj"]}
CASES = {
    "LoRA": ("llama", ATTENTION),
    "ranks by layer": ("llama", {**ATTENTION, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}}),
    "rsLoRA": ("llama", {**ATTENTION, "use_rslora": True}),
    "DoRA": ("llama", {**ATTENTION, "use_dora": True}),
    "biases": ("qwen2", {**ATTENTION, "bias": "all"}),
    "trained whole": ("llama", {**ATTENTION, "modules_to_save": ["embed_tokens"]}),
    "tied, trained whole": ("llama tied", {**ATTENTION, "modules_to_save": ["lm_head"]}),
    "tied": ("llama tied", ATTENTION),
    "tied, the input adapted": ("llama tied", {"target_modules": ["embed_tokens"]}),
    "tied, the output adapted": ("llama tied", {"target_modules": ["lm_head"]}),
    "GPT-2's layers": ("gpt2", {"target_modules": ["c_attn", "wte"], "fan_in_fan_out": True}),
    "masked": ("roberta", {"target_modules": ["query"]}),
}
WHOLE = {
    "adapted experts": ("mixtral", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}),
    "other names": ("gpt2 bare", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
}


def made(kind, settings, tmp_path):
    """Make a base of bfloat16 in several files and an adapter that does something; return all that saving takes."""
    model_type, *others = kind.split()
    torch.manual_seed(0)
    sizes = {**SHAPE, "tie_word_embeddings": "tied" in others or model_type == "gpt2"}
    auto = AutoModelForMaskedLM if model_type == "roberta" else AutoModelForCausalLM
    model = auto.from_config(AutoConfig.for_model(model_type, **sizes), dtype=torch.bfloat16)
    saved = model.base_model if "bare" in others else model
    saved.save_pretrained(tmp_path / "base", max_shard_size=FILE)
    adapted = get_peft_model(model, LoraConfig(r=4, init_lora_weights=False, **settings))
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    trainer = Trainer(adapted, TrainingArguments(str(tmp_path / "work"), use_cpu=True, report_to="none"))
    keys = {"collator": "mlm"} if model_type == "roberta" else {}
    asked = dataclasses.replace(command(tmp_path, **keys), base=tmp_path / "base", peft=PeftSection(merge=True))
    save_adapter(trainer, adapter_weights(trainer), str(asked.base), tmp_path / "adapter")
    return trainer, asked, auto


def written(trainer, asked, tmp_path, monkeypatch):
    """Return the files of a checkpoint as we write it."""
    monkeypatch.setattr(shard_merging, "SHARD", FILE)
    monkeypatch.setattr(putting_together, "SHARD", FILE)
    saving.save_model(merge(trainer, asked, tmp_path / "adapter"), None, tmp_path / "merged", asked)
    return tree(tmp_path / "merged")


def written_by_peft(trainer, asked, auto, tmp_path):
    """Return the files of peft's own merge of the same adapter."""
    adapted = PeftModel.from_pretrained(auto.from_pretrained(asked.base, dtype="auto"), tmp_path / "adapter")
    untie_adapted(adapted)
    model = adapted.merge_and_unload()
    model.generation_config = getattr(trainer.model.get_base_model(), "generation_config", None)
    model.save_pretrained(tmp_path / "expected", max_shard_size=FILE)
    return tree(tmp_path / "expected")


@pytest.mark.parametrize(("kind", "settings"), CASES.values(), ids=CASES)
def test_a_checkpoint_is_written_file_by_file_as_peft_would(kind, settings, tmp_path, monkeypatch, capsys):
    trainer, asked, auto = made(kind, settings, tmp_path)
    found, expected = written(trainer, asked, tmp_path, monkeypatch), written_by_peft(trainer, asked, auto, tmp_path)
    assert found == expected
    assert len(found) > 3
    assert "all of it is loaded" not in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "settings"), WHOLE.values(), ids=WHOLE)
def test_what_cannot_be_merged_so_is_merged_by_peft_and_the_log_says_why(kind, settings, tmp_path, monkeypatch, capsys):
    trainer, asked, auto = made(kind, settings, tmp_path)
    found, expected = written(trainer, asked, tmp_path, monkeypatch), written_by_peft(trainer, asked, auto, tmp_path)
    assert found == expected
    assert "base: all of it is loaded to merge the adapter: " in capsys.readouterr().out


def test_experts_are_copied_though_transformers_joins_them_when_it_loads(tmp_path, monkeypatch, capsys):
    """Only their files begin elsewhere: transformers keeps in one file what it has cut from one tensor."""
    trainer, asked, auto = made("mixtral", {"target_modules": ["q_proj"]}, tmp_path)
    written(trainer, asked, tmp_path, monkeypatch)
    written_by_peft(trainer, asked, auto, tmp_path)
    found, expected = (tensors(tmp_path / name) for name in ("merged", "expected"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert "all of it is loaded" not in capsys.readouterr().out


UNASKED = "experts.down_proj, experts.gate_up_proj, gate.weight of each layer get adapters: of this model peft reads"
LEFT_OUT = "as those of joined experts, and the linear layers down_proj, gate_proj, up_proj get none"
NONE = "the experts get no adapter and stay as they are (experts.down_proj, experts.gate_up_proj of each layer): "
JOINED = ["experts.gate_up_proj", "experts.down_proj"]


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("llama", {}, []),
        ("mixtral", {}, [UNASKED]),
        ("deepseek_v3", {}, [LEFT_OUT]),
        ("gpt_oss", {}, [NONE]),
        ("gpt_oss", {"target_parameters": JOINED}, []),
        ("mixtral", ATTENTION_ALONE, [NONE]),
        ("mixtral", {**ATTENTION_ALONE, "target_parameters": JOINED[:1]}, ["stay as they are (experts.down_proj of"]),
        ("mixtral", {"target_modules": [], "target_parameters": JOINED}, []),
    ],
)
def test_what_of_a_mixture_of_experts_is_adapted_is_what_the_log_says(kind, settings, said, capsys):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE, first_k_dense_replace=1))
        adapted = get_peft_model(model, lora_config(PeftSection(**settings), model))
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: peft")]
    assert len(found) == len(said) and all(map(str.__contains__, found, said)), found
    if found and NONE in found[0]:
        assert found[0].endswith("set target_parameters: [experts.down_proj, experts.gate_up_proj]")
    experts = [name for name, weight in adapted.named_parameters() if weight.requires_grad and ".experts." in name]
    assert bool(experts) == (kind != "llama" and NONE not in "".join(found))
    layers = {name.split(".")[-4] for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert ("up_proj" in layers) == (kind == "llama")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_dropout": 0.1}, "peft.lora_dropout: cannot be applied to an adapter of a weight that is no layer of "
         "its own, and of this model peft reads target_modules as such weights too (experts.down_proj, "),
        ({"target_parameters": ["experts.down_prj"]}, "peft.target_parameters: the model has no experts.down_prj; did "
         "you mean experts.down_proj?"),
        ({"target_parameters": ["q_proj.weight"]}, "peft.target_parameters: q_proj.weight is a weight of an ordinary "
         "layer, or of one dimension; name its layer in target_modules"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_adapted_so(settings, said):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **SHAPE))
    with pytest.raises(HeirloomError) as caught:
        lora_config(PeftSection(**settings), model)
    assert str(caught.value).startswith(said)


def test_too_little_memory_for_saving_is_told_before_the_first_step(tmp_path, monkeypatch):
    """The need: of a base that is merged file by file one file, of another all of it, of a whole model all ranks'."""
    trainer, asked, _ = made("llama", ATTENTION, tmp_path)
    size = bytes_of_weights(asked.base)
    assert need_of_saving(trainer, asked)[0] == size
    monkeypatch.setattr(saving_memory, "ONE_FILE", 1000)
    assert need_of_saving(trainer, asked)[0] == 1000
    check_memory_for_saving(trainer, asked)
    monkeypatch.setattr(saving_memory, "free_memory", lambda: 999)
    with pytest.raises(
        HeirloomError, match=r"merging the adapter into .*/base, file by file, takes .* and 0.00 GB are"
    ):
        check_memory_for_saving(trainer, asked)
    for file in asked.base.glob("*.safetensors*"):
        file.rename(file.with_suffix(".away"))
    (asked.base / "pytorch_model.bin").write_bytes(bytes(2000))
    with pytest.raises(HeirloomError, match=r"into all of .*/base at once \(its weights are no safetensors\)"):
        check_memory_for_saving(trainer, asked)
    whole = Trainer(trainer.model.unload(), trainer.args)
    assert need_of_saving(whole, asked)[0] == 0
    monkeypatch.setattr(whole, "is_deepspeed_enabled", True)
    assert need_of_saving(whole, asked)[0] == 2 * sum(weight.numel() for weight in whole.model.parameters())


def test_limits_of_a_container_count(tmp_path, monkeypatch):
    outer, inner = tmp_path, tmp_path / "slurm" / "job_7"
    inner.mkdir(parents=True)
    (tmp_path / "membership").write_text("1:name=systemd:/\n0::/slurm/job_7\n")
    monkeypatch.setattr(machine_memory, "CGROUPS", outer)
    monkeypatch.setattr(machine_memory, "MEMBERSHIP", tmp_path / "membership")
    without = host_memory.free_memory()
    assert without > 10**6
    for folder, limit in ((inner, "max"), (inner.parent, "9000"), (outer, "100000000000000000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("8000\n")
        (folder / "memory.stat").write_text("anon 7000\ninactive_file 300\n")
    assert host_memory.free_memory() == 9000 - 8000 + 300
    assert machine_memory.machine_memory() == 9000


def tensors(folder):
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


@pytest.mark.parametrize(("kind", "settings"), [("llama", ATTENTION), ("mixtral", {"target_modules": "all-linear"})])
def test_the_merged_model_answers_as_base_and_adapter_do(kind, settings, tmp_path, monkeypatch):
    trainer, asked, _ = made(kind, settings, tmp_path)
    written(trainer, asked, tmp_path, monkeypatch)
    ids = torch.arange(32).reshape(2, 16)  # (B, T)
    with torch.no_grad():
        before = AutoModelForCausalLM.from_pretrained(asked.base, dtype=torch.float32)(ids).logits
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(ids).logits
        expected = trainer.model.float().eval()(ids).logits
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    assert (found - before).abs().max() > 0.1
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
