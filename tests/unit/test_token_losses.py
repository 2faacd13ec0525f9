"""Losses computed a part of the positions at a time are those of the whole scores, whatever the model's build."""

import contextlib
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from heirloom.models import token_losses as module
from heirloom.models import trained_checkpoints
from heirloom.models.batches import in_halves
from heirloom.models.token_losses import losses_of, token_losses
from heirloom.training.losses.token_weighted_evaluation import TokenWeightedEvaluation

WORDS = 99
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
CAUSAL = {
    "llama": SMALL,
    "qwen2": SMALL,
    "gemma2": SMALL | {"head_dim": 8, "final_logit_softcapping": 3.0},  # capped after the output layer
    "cohere": SMALL | {"logit_scale": 0.25},  # scaled
    "granite": SMALL | {"logits_scaling": 4.0},  # divided
    "mixtral": SMALL | EXPERTS | {"output_router_logits": True},
    "qwen3_moe": SMALL | EXPERTS | {"head_dim": 8},
    "gpt2": OLD,
    "gpt_neox": SMALL,
    "opt": SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 16},  # calls its decoder past the module around it
    "mamba": SMALL,
    "bloom": SMALL,
    "phi": SMALL,
}


class Sizes:
    """How many positions' scores a model's output layer has computed at a time, at most."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.largest = 0
        model.get_output_embeddings().register_forward_hook(self.note)

    def note(self, _module: torch.nn.Module, _inputs: tuple, scores: torch.Tensor) -> None:
        if scores.shape[-1] == WORDS:
            self.largest = max(self.largest, scores.shape[0] * scores.shape[1])


def batch() -> tuple[dict, torch.Tensor]:
    """Return three rows of 17 places, one of them short, and what is to come at each place."""
    ids = torch.randint(3, WORDS, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    ids[1, 12:] = mask[1, 12:] = 0
    targets = ids.roll(-1, 1).masked_fill(mask == 0, -100)
    targets[:, -1] = -100
    return {"input_ids": ids, "attention_mask": mask}, targets


@pytest.mark.parametrize("kind", CAUSAL)
@torch.no_grad()
def test_a_causal_models_losses(monkeypatch, kind):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **CAUSAL[kind])).eval()
    inputs, targets = batch()
    inputs["use_cache"] = False
    whole = losses_of(model(**inputs).logits, targets)
    assert torch.equal(token_losses(model, inputs, targets), whole)  # a small batch is computed at once
    sizes = Sizes(model)
    monkeypatch.setattr(module, "MOST_TOKENS", 12)
    torch.testing.assert_close(token_losses(model, inputs, targets), whole, atol=1e-6, rtol=0)
    assert 0 < sizes.largest <= 12
    again = losses_of(model(**inputs).logits, targets)
    assert torch.equal(again, whole)  # nothing is left in the model
    assert (whole == 0).sum() == (targets == -100).sum()


@torch.no_grad()
def test_masked_and_encoder_decoder_models_losses(monkeypatch):
    masked = AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", **SMALL)).eval()
    inputs, targets = batch()
    whole, sizes = losses_of(masked(**inputs).logits, targets), Sizes(masked)
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4, "vocab_size": WORDS}
    both = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **t5, decoder_start_token_id=0)).eval()
    sources = {**inputs, "decoder_input_ids": inputs["input_ids"][:, :13], "use_cache": False}
    expected = losses_of(both(**sources).logits, targets[:, :13])
    monkeypatch.setattr(module, "MOST_TOKENS", 12)
    torch.testing.assert_close(token_losses(masked, inputs, targets), whole, atol=1e-6, rtol=0)
    assert 0 < sizes.largest <= 12
    torch.testing.assert_close(token_losses(both, sources, targets[:, :13]), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_under_autocast_and_with_an_adapter_the_losses_are_those_of_the_wrapped_model(monkeypatch):
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SMALL))
    wrapped = get_peft_model(model, LoraConfig(r=2, init_lora_weights=False)).eval()
    inputs, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        whole = losses_of(wrapped(**inputs).logits, targets)
        monkeypatch.setattr(module, "MOST_TOKENS", 12)
        torch.testing.assert_close(token_losses(wrapped, inputs, targets), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("at_once", [module.MOST_TOKENS, 12])
def test_held_out_batches_of_a_training_are_halved_too(monkeypatch, at_once, capsys):
    """Each row's loss is that of the row alone; scores of more than two rows do not fit this memory."""

    class Evaluation(TokenWeightedEvaluation):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SMALL)).eval()
        compute_loss_context_manager = contextlib.nullcontext

        def _prepare_inputs(self, inputs: dict) -> dict:
            return inputs

    def small_memory(_module: torch.nn.Module, arguments: tuple, options: dict) -> None:
        if len(options["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    inputs, _ = batch()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    evaluation = Evaluation()
    with torch.no_grad():
        alone = [
            losses_of(evaluation.model(input_ids=row[None]).logits[:, :-1], own[None, 1:]).sum().item()
            for row, own in zip(inputs["input_ids"], labels, strict=True)
        ]
    monkeypatch.setattr(module, "MOST_TOKENS", at_once)
    evaluation.model.register_forward_pre_hook(small_memory, with_kwargs=True)
    _, losses, tokens = evaluation.prediction_step(evaluation.model, {**inputs, "labels": labels}, True)
    assert losses.tolist() == pytest.approx(alone, abs=1e-4)
    assert tokens.tolist() == [16, 11, 16]
    assert "a batch of 3: it is evaluated in halves of 2" in capsys.readouterr().out


def test_weights_are_read_straight_to_another_device(tmp_path, monkeypatch):
    """16 GB of them need no 16 GB of main memory beside the GPU; what transformers does then, a GPU must show."""
    LlamaForCausalLM(LlamaConfig(**SMALL)).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    asked = {}

    def from_pretrained(place: Path, **options: object) -> LlamaForCausalLM:
        asked.update(options)
        return LlamaForCausalLM(LlamaConfig(**SMALL))

    monkeypatch.setattr(trained_checkpoints.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    for device, given in (("cuda:1", {"": torch.device("cuda:1")}), ("cpu", None)):
        asked.clear()
        trained_checkpoints.load_model(tmp_path, "auto", None, torch.device(device))
        assert asked.get("device_map") == given


def test_a_batch_that_memory_does_not_suffice_for_is_halved_and_another_error_is_not(capsys):
    asked = []

    def compute(rows: list[int]) -> list[int]:
        asked.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [row * 10 for row in rows]

    assert in_halves(compute, [1, 2, 3, 4, 5], "scored") == [10, 20, 30, 40, 50]
    assert asked == [5, 3, 2, 1, 2]
    assert "memory does not suffice for a batch of 5: it is scored in halves of 3" in capsys.readouterr().out
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(lambda rows: compute([0] * 3), [1, 2], "scored")
    with pytest.raises(RuntimeError, match="a defect"):
        in_halves(lambda rows: (_ for _ in ()).throw(RuntimeError("a defect")), [1, 2], "scored")
