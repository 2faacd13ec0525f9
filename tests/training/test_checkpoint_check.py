"""A checkpoint is compared with the model that was trained before a training is called done; all in one process."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from test_training_mistakes import command
from training_workplace import tree
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)
from transformers.models.auto import tokenization_auto

from heirloom.config.arguments.library_arguments import model_configs
from heirloom.config.sections.init import WITH_TOKENIZER_OF_THEIR_OWN
from heirloom.config.sections.peft import PeftSection
from heirloom.data.processed_dataset import load_split
from heirloom.errors import HeirloomError
from heirloom.launcher.record import notes_in
from heirloom.models import remote_code
from heirloom.models.adapters.putting_together import write_whole_model
from heirloom.models.tokenizer_files import check_same_ids, copy_tokenizer, load_tokenizer
from heirloom.models.trained_checkpoints import load_model
from heirloom.models.weights import weights_hash
from heirloom.training.checkpoints import checkpoint_check, saving
from heirloom.training.checkpoints.provenance import lineage_of
from heirloom.training.checkpoints.saving import save_checkpoint

SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 300, "tie_word_embeddings": True, "initializer_range": 0.1}


def made(folder, workplace, model_type="llama", auto=AutoModelForCausalLM, **keys):
    """Make a tiny base with tied embeddings and large weights, as create_model.py does; return its folder."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{"pad_token_id": 0, **SIZES, **keys})
    auto.from_config(config).save_pretrained(folder)
    copy_tokenizer(workplace.folder / "tokenizer", folder)
    return folder


def trained(workplace, tmp_path, base, *, auto=AutoModelForCausalLM, adapter=None, steps=3, keys=(), **arguments):
    """Train on text rows in this process and save; return (trained model, the checkpoint's folder)."""
    model = auto.from_pretrained(base)
    fixed = {"use_cpu": True, "disable_tqdm": True, "report_to": "none"}
    fixed |= dict.fromkeys(("save_strategy", "logging_strategy"), "no")
    fixed |= {"max_steps": steps, "learning_rate": 1e-2, "per_device_train_batch_size": 4}
    args = TrainingArguments(str(tmp_path / "work"), **fixed, **arguments)
    trainer = Trainer(
        get_peft_model(model, LoraConfig(r=4, **adapter)) if adapter else model,
        args,
        train_dataset=load_split(workplace.folder / "text", "train").map(lambda row: {"labels": row["input_ids"]}),
        processing_class=AutoTokenizer.from_pretrained(workplace.folder / "tokenizer"),
    )
    trainer.train()
    asked = dataclasses.replace(command(tmp_path, **dict(keys)), base=base)
    for merge in (True, False) if adapter else (True,):
        output = tmp_path / ("out" if merge else "alone")
        of_merge = {"peft": PeftSection(merge=merge), "output": output} if adapter else {}
        facts = {"lineage": lineage_of(base)}
        save_checkpoint(trainer, dataclasses.replace(asked, **of_merge), facts, [], "a card")
    return checkpoint_check.plain_model(trainer), asked.output


def assert_put_together_is(model, checkpoint, folder):
    """The adapter alone, as peft, plain transformers and our readers load it, and written as a whole model."""
    alone, base = checkpoint.with_name("alone"), checkpoint.with_name("base")
    with_peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), alone)
    for loaded in (AutoModelForCausalLM.from_pretrained(alone), with_peft, load_model(alone, "auto")):
        torch.testing.assert_close(logits(loaded), logits(model), atol=1e-4, rtol=0)
    write_whole_model(alone, folder)
    files, expected = tree(folder), tree(checkpoint)
    written = {name for name in expected if not name.startswith(("adapter/", "README", "heirloom", "trainer_state"))}
    assert {name: files[name] == expected[name] for name in files} == dict.fromkeys(written, True)


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.arange(3, 35).reshape(2, 16)).logits  # (B, T, V)


def assert_is_the_trained_model(model, checkpoint):
    found = logits(AutoModelForCausalLM.from_pretrained(checkpoint))
    torch.testing.assert_close(found, logits(model), atol=1e-4, rtol=0)


def test_a_compiled_model_is_saved_under_its_own_names(workplace, tmp_path):
    base = made(tmp_path / "base", workplace)
    model, checkpoint = trained(workplace, tmp_path, base, torch_compile=True, torch_compile_backend="eager")
    assert_is_the_trained_model(model, checkpoint)


@pytest.mark.parametrize(
    ("model_type", "target"), [("llama", "embed_tokens"), ("llama", "lm_head"), ("gpt2", "wte"), ("gpt2", "lm_head")]
)
def test_an_adapter_of_one_of_two_tied_layers_unties_them(workplace, tmp_path, model_type, target):
    base = made(tmp_path / "base", workplace, model_type)
    model, checkpoint = trained(workplace, tmp_path, base, adapter={"target_modules": [target]})
    assert_is_the_trained_model(model, checkpoint)
    assert_put_together_is(model, checkpoint, tmp_path / "whole")
    assert json.loads((checkpoint / "config.json").read_text())["tie_word_embeddings"] is False
    before = logits(AutoModelForCausalLM.from_pretrained(base))
    assert (logits(model) - before).abs().max() > 0.01  # it learned something


def test_an_adapter_of_a_masked_language_model_is_merged_too(workplace, tmp_path):
    masked = {"auto": AutoModelForMaskedLM}
    base = made(tmp_path / "base", workplace, "roberta", max_position_embeddings=66, **masked)
    model, checkpoint = trained(
        workplace, tmp_path, base, **masked, adapter={"target_modules": ["query"]}, keys={"collator": "mlm"}
    )
    written = AutoModelForMaskedLM.from_pretrained(checkpoint)
    torch.testing.assert_close(logits(written), logits(model), atol=1e-4, rtol=0)
    assert (logits(written) - logits(AutoModelForMaskedLM.from_pretrained(base))).abs().max() > 0.001


def test_other_adapters_leave_them_tied(workplace, tmp_path):
    base = made(tmp_path / "base", workplace)
    model, checkpoint = trained(workplace, tmp_path, base, adapter={"target_modules": ["q_proj"]})
    assert json.loads((checkpoint / "config.json").read_text())["tie_word_embeddings"] is True
    assert_put_together_is(model, checkpoint, tmp_path / "whole")
    alone = tmp_path / "alone"
    base_facts = json.loads((alone / "heirloom.json").read_text())["base"]
    assert base_facts == {"path": str(base), "weights": weights_hash(base), "dtype": "float32", "pad_token_id": 0}
    (base / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    with pytest.raises(HeirloomError, match=r"alone: is an adapter of .*base with other weights than are there now"):
        load_model(alone, "auto")
    (base / "model.safetensors").unlink()
    with pytest.raises(HeirloomError, match=r"base: holds no weights \(no model.safetensors\)"):
        load_model(alone, "auto")


WITH_MORE = {
    "trained whole": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    "DoRA": ("llama", {"target_modules": ["q_proj"], "use_dora": True}),
    "tied and trained whole": (
        "llama",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    ),
    "tied and adapted": ("llama", {"target_modules": ["embed_tokens", "q_proj"], "ensure_weight_tying": True}),
    "biases": ("gpt2", {"target_modules": ["c_attn"], "bias": "all"}),
}


@pytest.mark.parametrize(("model_type", "adapter"), WITH_MORE.values(), ids=WITH_MORE)
def test_an_adapter_alone_holds_all_that_was_trained(workplace, tmp_path, model_type, adapter):
    model, checkpoint = trained(workplace, tmp_path, made(tmp_path / "base", workplace, model_type), adapter=adapter)
    assert_put_together_is(model, checkpoint, tmp_path / "whole")


def test_weights_that_are_written_otherwise_are_refused(workplace, tmp_path, monkeypatch):
    def rounded(model, weights, folder, _command):
        model.save_pretrained(folder, state_dict={name: weight.bfloat16() for name, weight in weights.items()})

    monkeypatch.setattr(saving, "save_model", rounded)
    with pytest.raises(HeirloomError, match="checkpoint as written is not the model that was trained: .* is most in"):
        trained(workplace, tmp_path, made(tmp_path / "base", workplace))
    assert not (tmp_path / "out").exists()


def test_without_memory_for_it_log_and_record_say_that_nothing_was_compared(workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HEIRLOOM_WORK_DIR", str(tmp_path))
    monkeypatch.setattr(checkpoint_check, "free_memory", lambda: 1000)
    trained(workplace, tmp_path, made(tmp_path / "base", workplace), steps=1)
    (said,) = notes_in(tmp_path)
    assert (
        said.startswith("checkpoint not compared with the trained model: it has ") and said in capsys.readouterr().out
    )


def test_a_tokenizer_that_is_read_otherwise_beside_the_model_is_refused(workplace, tmp_path):
    with pytest.raises(HeirloomError, match="is not the one that was trained with: .* Qwen2Tokenizer, which gives"):
        trained(workplace, tmp_path, made(tmp_path / "base", workplace, "qwen2"), steps=1)
    source = workplace.folder / "tokenizer"
    shutil.copyfile(tmp_path / "base" / "config.json", tmp_path / "config.json")
    copy_tokenizer(source, tmp_path)
    with pytest.raises(HeirloomError, match="as Qwen2Tokenizer beside a model of this type, which gives 88 ids in pla"):
        check_same_ids(load_tokenizer(source), source, tmp_path)


def test_a_tokenizer_with_code_of_its_own_is_read_as_the_run_decided(workplace, tmp_path, monkeypatch):
    """Else transformers asks on the terminal, when the training is over."""
    folder = made(tmp_path / "base", workplace)
    (folder / "odd_tokenizer.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n\n\nclass OddTokenizer(PreTrainedTokenizerFast):\n    pass\n"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "OddTokenizer", "auto_map": {"AutoTokenizer": [None, "odd_tokenizer.OddTokenizer"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *asked: pytest.fail(f"somebody was asked: {asked}"))
    monkeypatch.setattr(remote_code, "_trusted", True)
    trainer = SimpleNamespace(processing_class=AutoTokenizer.from_pretrained(folder, trust_remote_code=True))
    checkpoint_check.check_tokenizer(folder, trainer, SimpleNamespace(inputs={"input_ids": torch.tensor([[5, 6, 7]])}))


def test_the_model_types_that_replace_a_tokenizer_are_those_of_transformers():
    generic = ("TokenizersBackend", None)
    replaced = {
        name
        for name in tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS & model_configs()["models"].keys()
        if tokenization_auto.TOKENIZER_MAPPING_NAMES.get(name) not in generic
    }
    assert replaced == set(WITH_TOKENIZER_OF_THEIR_OWN)
