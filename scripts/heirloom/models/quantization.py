"""Load a base in 8 or 4 bits by bitsandbytes (QLoRA, arXiv:2305.14314; LLM.int8, arXiv:2208.07339)."""

from typing import TYPE_CHECKING

import torch

from heirloom.config.sections.quantization import QuantizationSection
from heirloom.errors import HeirloomError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel

BLOCK = 64
"""Weights that share a scale: bitsandbytes' default for 4 bits, which transformers keeps."""


def bitsandbytes_config(section: QuantizationSection | None) -> "BitsAndBytesConfig | None":
    """Return how a base is quantized while it loads, None without a section."""
    if section is None:
        return None
    from transformers import BitsAndBytesConfig

    if section.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=section.llm_int8_threshold)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=section.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=section.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=getattr(torch, section.bnb_4bit_compute_dtype),
        bnb_4bit_quant_storage=getattr(torch, section.bnb_4bit_quant_storage),
    )


def without_repacking(model: "PreTrainedModel") -> None:
    """Keep bitsandbytes from repacking 4-bit weights at the first evaluation on a CPU with AVX512-BF16.

    The new form rounds the quantization constants, so measuring a model would change how it trains on; and it fails
    on layers with fewer inputs than a block has (64). bitsandbytes/nn/modules.py, Linear4bit.forward.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_narrow_layers(model: "PreTrainedModel") -> None:
    """Raise HeirloomError for 4-bit layers whose weights this machine's bitsandbytes reads with wrong scales.

    A block of weights, which shares one scale, may reach over several rows of a layer with fewer inputs than a block
    has. bitsandbytes 0.50 takes the scale of another block then where a CPU has AVX-512: the base's losses were off by
    0.02 there, and right on a CPU with AVX2 alone.
    """
    from bitsandbytes.nn import Linear4bit

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Linear4bit)}
    narrow = [name for name, layer in layers.items() if layer.in_features % BLOCK]
    if narrow and not reads_blocks_over_rows():
        raise HeirloomError(
            f"quantization.load_in_4bit: {narrow[0]} has {layers[narrow[0]].in_features} inputs, no multiple of a "
            f"block's {BLOCK}, and bitsandbytes reads such a layer wrongly on this CPU: train on a GPU, choose a wider "
            "base, or delete the section"
        )


def reads_blocks_over_rows() -> bool:
    """Tell whether bitsandbytes gives back what it quantized where a block reaches over two rows."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    rows = torch.tensor([[1.0], [2.0], [300.0], [400.0]]).expand(4, BLOCK // 2).contiguous()  # (4, block / 2)
    read = dequantize_4bit(*quantize_4bit(rows, quant_type="nf4", blocksize=BLOCK))
    return bool(((read - rows).abs() < 0.5 * rows).all())
