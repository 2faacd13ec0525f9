"""Packed rows on a GPU: the kernel of variable length is asked for the right thing, and left where it would be wrong.

No GPU is here, and the kernel runs on nothing else. In its place stands plain attention with the kernel's own words,
which are held against torch's; what the kernel itself does, benchmarks/gpu_smoke.py asks on a GPU (packed-attention).
"""

import ast
import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3NextConfig,
    RwkvConfig,
)
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from heirloom.errors import HeirloomError
from heirloom.training.batches import document_isolation, packed_attention
from heirloom.training.batches.packed_attention import (
    SDPA,
    VARLEN,
    attend_by_document,
    implementation,
    is_on_trial,
    use,
)
from heirloom.training.batches.varlen_kernel import has_window, other_form, wrong_here

KERNEL = "torch.nn.attention.varlen"
CPU = torch.device("cpu")
SIZES = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
WINDOWED = {"sliding_window": 4, "use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, **HEADS),
    "qwen3": Qwen3Config(**SIZES, **HEADS, head_dim=16),
    "qwen3 of two kinds of layers": Qwen3Config(**SIZES, **HEADS, head_dim=16, **WINDOWED),
    "mistral with a window": MistralConfig(**SIZES, **HEADS, sliding_window=3),
    "gpt2": GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, attn_pdrop=0.0),
}
LENGTHS = (3, 11, 1, 6)


def plain(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False):
    """What torch's varlen_attn says it computes: states are (T, H, D), a window is (tokens before, tokens after)."""
    assert cu_seq_q.dtype == torch.int32 and cu_seq_q is cu_seq_k and max_q == max_k == int(cu_seq_q.diff().max())
    assert query.dtype == key.dtype == value.dtype and enable_gqa == (query.shape[1] != key.shape[1])
    found = []
    for start, end in pairwise(cu_seq_q.tolist()):
        one = [states[start:end].transpose(0, 1) for states in (query, key, value)]
        places = torch.arange(end - start)
        back = places[:, None] - places[None, :]
        before, after = window_size
        seen = ((back <= before) | (before < 0)) & ((-back <= after) | (after < 0))
        found.append(scaled_dot_product_attention(*one, attn_mask=seen, scale=scale, enable_gqa=enable_gqa))
    return torch.cat(found, dim=1).transpose(0, 1)


def blind_to_windows(*states, window_size, **others):
    return plain(*states, window_size=(-1, window_size[1]), **others)


def blind_to_borders(query, key, value, cu_seq_q, *others, **named):
    whole = torch.tensor([0, len(query)], dtype=torch.int32)
    return plain(query, key, value, whole, whole, len(query), len(query), **named)


class WithoutGradients(torch.autograd.Function):
    """Right numbers, and no gradients."""

    @staticmethod
    def forward(ctx, query, key, value, output):
        return output.detach()

    @staticmethod
    def backward(ctx, gradient):
        nothing = torch.full_like(gradient, torch.nan)
        return gradient, *[nothing[:, : gradient.shape[1] // 2]] * 2, None


def without_gradients(query, key, value, *others, **named):
    return WithoutGradients.apply(query, key, value, plain(query, key, value, *others, **named))


def absent(*_, **__):
    raise RuntimeError("FlashAttention was not built into this torch\n  at a line of C++")


@pytest.fixture(scope="module", autouse=True)
def known_here_alone():
    """Other tests ask transformers which ways to attend there are."""
    yield
    for interface in (AttentionInterface, AttentionMaskInterface):
        interface._global_mapping.pop(VARLEN, None)


@pytest.fixture
def kernel(monkeypatch):
    """Put a function in the kernel's place."""

    def put(function):
        module = ModuleType(KERNEL)
        module.varlen_attn = function
        monkeypatch.setitem(sys.modules, KERNEL, module)

    put(plain)
    return put


@pytest.fixture
def gpu(monkeypatch, kernel):
    """What a training asks of the GPU, answered as an A100 does; the kernel is tried on the CPU."""
    facts = SimpleNamespace(capability=(8, 0))
    monkeypatch.setattr(packed_attention, "on_cpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: facts.capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    tried = packed_attention.wrong_here
    monkeypatch.setattr(packed_attention, "wrong_here", lambda config, dtype, device: tried(config, dtype, CPU))
    return facts


def tiny(config: PreTrainedConfig, attention: str = "sdpa"):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    use(model, attention)
    return model


def documents() -> list[list[int]]:
    return [[(7 * place + 31 * number) % 300 for place in range(length)] for number, length in enumerate(LENGTHS)]


def packed(rows: int = 2) -> dict:
    """A batch as TRL makes it of packed rows."""
    each = [{"input_ids": sum(documents(), []), "seq_lengths": list(LENGTHS)}] * rows
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(each)
    del batch["labels"]
    return dict(batch)


def logits(model, **inputs):
    return model(**inputs, use_cache=False).logits


def test_the_kernel_is_asked_in_torchs_own_words():
    place = Path(importlib.util.find_spec("torch").origin).parent / "nn/attention/varlen.py"
    functions = {
        node.name: node.args for node in ast.parse(place.read_text()).body if isinstance(node, ast.FunctionDef)
    }
    asked = functions["varlen_attn"]
    assert [each.arg for each in asked.args] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert {"scale", "window_size", "enable_gqa"} <= {each.arg for each in asked.kwonlyargs}


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_documents_have_the_logits_and_gradients_of_separate_ones(name, kernel):
    """Also where some layers look through a window; and no mask of the whole row is made for it."""
    model = tiny(CONFIGS[name], VARLEN)
    found = logits(model, **packed())[0]  # (N, V)
    separate = torch.cat([logits(model, input_ids=torch.tensor([row]))[0] for row in documents()] * 2)
    torch.testing.assert_close(found, separate, atol=1e-5, rtol=1e-4)
    other = tiny(CONFIGS[name])
    expected = torch.cat([logits(other, input_ids=torch.tensor([row]))[0] for row in documents()] * 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)

    found.square().mean().backward()
    expected.square().mean().backward()
    for one, another in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, another.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_with_padding_are_measured_as_by_sdpa(name, kernel):
    rows = [row for row in documents() if len(row) > 1]
    longest = max(map(len, rows))
    inputs = {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }
    found, expected = (logits(tiny(CONFIGS[name], way), **inputs) for way in (VARLEN, "sdpa"))
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-4)


def test_a_trained_models_files_do_not_tell_how_it_attended(kernel, tmp_path):
    for way in (VARLEN, "sdpa"):
        tiny(CONFIGS["llama"], way).save_pretrained(tmp_path / way)
    assert (tmp_path / VARLEN / "config.json").read_bytes() == (tmp_path / "sdpa/config.json").read_bytes()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (plain, None),
        (absent, "fails here: FlashAttention was not built into this torch"),
        (blind_to_windows, "is off by "),
        (blind_to_borders, "is off by "),
        (without_gradients, "is off by 0% and "),
        (lambda *states, **named: plain(*states, **named) * 1.2, "is off by "),
    ],
)
def test_the_kernel_is_tried_before_it_is_used(function, said, kernel):
    kernel(function)
    found = wrong_here(CONFIGS["llama"], torch.bfloat16, CPU)
    assert found is None if said is None else found.startswith(said)


@pytest.mark.parametrize(
    ("config", "form"),
    [
        (CONFIGS["llama"], None),
        (CONFIGS["mistral with a window"], None),
        (LlamaConfig(**SIZES, **HEADS, attention_dropout=0.1), "attention_dropout"),
        (GPT2Config(), "attn_pdrop"),
        (MambaConfig(), "layers of linear_attention"),
        (RwkvConfig(), "layers without heads of attention"),
        (Gemma2Config(**SIZES, **HEADS, head_dim=16), "attn_logit_softcapping"),
        (LlamaConfig(**SIZES, **HEADS, head_dim=512), "heads of more than 256 numbers"),
        (Qwen3NextConfig(num_hidden_layers=4), "layers of linear_attention"),
    ],
)
def test_attention_of_another_form_is_left_to_sdpa(config, form):
    assert other_form(config) == form


def test_windows_are_known_of_configs():
    windowed = {"mistral with a window", "qwen3 of two kinds of layers"}
    assert {name for name, config in CONFIGS.items() if has_window(config)} == windowed
    assert not has_window(Qwen3Config(**SIZES, **HEADS, head_dim=16, sliding_window=4))  # use_sliding_window: false


def arguments(**given):
    return SimpleNamespace(**({"bf16": True, "fp16": False} | given))


@pytest.mark.parametrize(
    ("given", "asked", "name", "capability", "uses", "said"),
    [
        ({}, None, "llama", (8, 0), True, "goes through each document by itself, by torch's kernel of variable length"),
        ({}, "sdpa", "llama", (8, 0), False, None),
        ({"bf16": False}, None, "llama", (8, 0), False, "torch's kernel of variable length has 16-bit floats alone"),
        ({"bf16": False, "fp16": True}, None, "llama", (7, 5), False, "a Tesla T4 is older than torch's kernel of"),
    ],
)
def test_a_training_says_how_it_attends(given, asked, name, capability, uses, said, gpu, capsys):
    gpu.capability = capability
    model = tiny(CONFIGS[name])
    attend_by_document(model, arguments(**given), asked)
    assert (implementation(model), is_on_trial(model)) == ((VARLEN, True) if uses else (SDPA, False))
    printed = capsys.readouterr().out
    assert (said in printed and printed.startswith("packed rows: attention ")) if said else not printed


def test_a_model_that_does_not_attend_by_sdpa_is_left_alone(gpu, capsys):
    """gpt-oss has sinks that are learned, which neither sdpa nor the kernel know."""
    sizes = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 16}
    model = AutoModelForCausalLM.from_config(GptOssConfig(**SIZES, **HEADS, **sizes))
    before = implementation(model)
    attend_by_document(model, arguments(), None)
    assert implementation(model) == before != SDPA and not is_on_trial(model) and not capsys.readouterr().out


def test_on_a_cpu_nothing_changes_and_the_compiler_is_not_loaded(capsys):
    model = tiny(CONFIGS["llama"])
    attend_by_document(model, arguments(), None)
    assert implementation(model) == SDPA and not capsys.readouterr().out and KERNEL not in sys.modules


def test_attention_that_drops_out_is_refused_where_no_configuration_told(kernel):
    model = tiny(CONFIGS["gpt2"], VARLEN)
    for layer in model.transformer.h:
        layer.attn.attn_dropout.p = 0.1
    with pytest.raises(HeirloomError, match=r"GPT2Attention drops out attention, .*: set training.attn_implementation"):
        logits(model.train(), **packed())


def fails(*_, **__):
    raise RuntimeError("CUDA error: an illegal memory access\nCompile with …")


def silent_about_windows(*states, window_size, **others):
    packed_attention._windows_seen.clear()
    return plain(*states, window_size=window_size, **others)


@pytest.mark.parametrize(
    ("function", "name", "said"),
    [
        (plain, "qwen3", None),
        (plain, "qwen3 of two kinds of layers", None),
        (lambda *states, **named: 0 * plain(*states, **named), "qwen3", "logits were off by "),
        (fails, "qwen3", "CUDA error: an illegal memory access\n"),
        (silent_about_windows, "mistral with a window", "its layers do not say how wide their window is"),
    ],
)
def test_the_first_step_goes_back_to_sdpa_where_something_is_wrong(function, name, said, kernel, capsys):
    model = tiny(CONFIGS[name], VARLEN)
    model.attention_on_trial = True
    kernel(function)
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    document_isolation.check_documents_stay_apart(model, collator, CPU)
    assert implementation(model) == (VARLEN if said is None else SDPA) and not is_on_trial(model)
    told = capsys.readouterr().out
    assert not told if said is None else f"attention computes whole rows after all: {said}" in told
