"""What vLLM (envs/vllm.in) does not serve of the models that can be trained here; tests ask vLLM itself."""

from typing import Any

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Sizes of an attention head that its kernels for CPUs have; on GPUs they have more."""
LARGEST_RANK = 512
"""Of a low-rank adapter."""
ENCODER_DECODERS = frozenset((
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "led", "longt5",
    "m2m_100", "marian", "mbart", "mt5", "musicgen", "musicgen_melody", "mvp", "nllb-moe", "pegasus", "pegasus_x",
    "plbart", "prophetnet", "seamless_m4t", "seamless_m4t_v2", "switch_transformers", "t5", "t5gemma", "t5gemma2",
    "umt5", "whisper",
))  # fmt: skip
"""Model types that read a source and write a target."""
BEYOND_ADAPTERS = {
    "modules_to_save": "whole modules beside it",
    "use_dora": "magnitudes beside it",
    "target_parameters": "weights that are no layers of their own",
}
"""Keys of an adapter that vLLM cannot keep apart from its base → what the adapter then has."""


def head_size(config: dict[str, Any]) -> int | None:
    """Return the size of an attention head that a model's configuration says; None where it leaves it to a default."""
    if (given := config.get("head_dim")) is not None:
        return given
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return width // heads if width and heads else None


def adapter_problem(adapter: dict[str, Any]) -> tuple[str, str] | None:
    """Return the key, and why vLLM cannot keep such an adapter apart from its base; None when it can.

    `adapter`: peft's settings, as in a run's `peft:` or in an adapter_config.json.
    """
    for key, what in BEYOND_ADAPTERS.items():
        if adapter.get(key):
            return key, f"gives the adapter {what}, which engine: vllm cannot apply"
    if adapter.get("bias", "none") != "none":
        return "bias", "gives the adapter biases, which engine: vllm cannot apply"
    largest = max([adapter.get("r") or 0, *(adapter.get("rank_pattern") or {}).values()])
    if largest > LARGEST_RANK:
        return "r", f"gives the adapter the rank {largest}, and engine: vllm applies up to {LARGEST_RANK}"
    return None


def cpu_problem(config: dict[str, Any]) -> str | None:
    """Return why vLLM cannot serve a model on a CPU; None when it may."""
    size = head_size(config)
    if size is None or size in CPU_HEAD_SIZES:
        return None
    known = ", ".join(map(str, CPU_HEAD_SIZES))
    return (
        f"vllm has no attention on CPUs for heads of size {size} (it has for {known}): use engine: accelerate, or a GPU"
    )
