"""Two adapters in a chain as one: what peft makes of them one after the other, to 1e-6 in float32."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from heirloom.errors import HeirloomError
from heirloom.models.adapters.joining import join
from heirloom.models.trained_checkpoints import with_saved_adapter

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
Q, ALL = ["q_proj"], "all-linear"
CASES = {
    "the same modules": ("llama", {"target_modules": ALL}, {"target_modules": ALL}),
    "other ranks, scales, modules": (
        "llama",
        {"r": 3, "lora_alpha": 7, "target_modules": Q},
        {"r": 2, "use_rslora": True, "target_modules": ["v_proj", "q_proj"]},
    ),
    "GPT-2's layers, an embedding": (
        "gpt2",
        {"target_modules": ["c_attn", "wte"], "fan_in_fan_out": True},
        {"target_modules": ["wte", "c_proj"], "fan_in_fan_out": True},
    ),
    "trained whole": (
        "llama",
        {"target_modules": Q, "modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": Q, "modules_to_save": ["lm_head"]},
    ),
    "biases": ("gpt2", {"target_modules": ["c_attn"], "bias": "all"}, {"target_modules": ["c_fc"]}),
}


def adapted(model, folder, settings):
    """Train an adapter on a model, in a way that costs nothing, and save it; return its model, merged."""
    adapter = get_peft_model(model, LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for weight in adapter.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    adapter.save_pretrained(folder, save_embedding_layers=False)
    return adapter.merge_and_unload()


def chain(tmp_path, model_type, *settings):
    """Make a base and two adapters, one on the other; return the logits (B, T, V) of the end of the chain."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SIZES, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")  # its name is what adapters of it say
    for number, own in enumerate(settings):
        model = adapted(model, tmp_path / str(number), {"r": 4, **own})
    return logits(model)


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.arange(32).reshape(2, 16)).logits  # (B, T, V)


@pytest.mark.parametrize(("model_type", "first", "second"), CASES.values(), ids=CASES)
def test_one_adapter_does_what_both_do(tmp_path, model_type, first, second):
    expected = chain(tmp_path, model_type, first, second)
    (tmp_path / "both").mkdir()
    join(tmp_path / "0", tmp_path / "1", tmp_path / "both")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    before = logits(base)
    found = PeftModel.from_pretrained(base, tmp_path / "both")
    assert found.peft_config["default"].base_model_name_or_path == str(tmp_path / "base")
    torch.testing.assert_close(logits(found), expected, atol=1e-6, rtol=1e-6)
    assert (expected - before).abs().max() > 0.1
    merged = with_saved_adapter(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "both")
    torch.testing.assert_close(logits(merged.merge_and_unload()), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"target_modules": Q, "use_dora": True}, {"target_modules": Q}, r"0: DoRA \(use_dora\), which is no sum"),
        (
            {"target_modules": Q},
            {"target_modules": Q, "rank_pattern": {"q_proj": 2}},
            "the adapter on .*: an adapter with rank_pattern",
        ),
        ({"target_modules": Q, "modules_to_save": ["lm_head"]}, {"target_modules": ["lm_head"]}, "one trains lm_head"),
    ],
)
def test_what_no_one_adapter_holds_is_refused(tmp_path, first, second, said):
    chain(tmp_path, "llama", first, second)
    with pytest.raises(HeirloomError, match=f"{said}.*: set peft.merge: true"):
        join(tmp_path / "0", tmp_path / "1", tmp_path)
