"""The model that a checkpoint holds after a training with an adapter, without training one."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_training_mistakes import command
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from heirloom.training.checkpoints.adapter_saving import adapter_weights, merged_model, save_adapter

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=40, **SHAPE)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_the_merged_model_answers_as_base_and_adapter_do(base, tmp_path):
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained(base),
        LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False),  # not that of a first step: 0
    )
    trainer = Trainer(adapted, TrainingArguments(str(tmp_path / "work"), use_cpu=True, report_to="none"))
    save_adapter(trainer, adapter_weights(trainer), base, tmp_path / "adapter")
    merged = merged_model(trainer, dataclasses.replace(command(tmp_path), base=base), tmp_path / "adapter")

    ids = torch.arange(32).reshape(2, 16)  # (B, T)
    with torch.no_grad():
        before = LlamaForCausalLM.from_pretrained(base)(ids).logits
        expected, found = adapted.eval()(ids).logits, merged.eval()(ids).logits
    torch.testing.assert_close(found, expected)
    assert (found - before).abs().max() > 0.01
    assert merged.state_dict().keys() == LlamaForCausalLM.from_pretrained(base).state_dict().keys()
