"""Load a base in 8 or 4 bits by bitsandbytes (QLoRA, arXiv:2305.14314; LLM.int8, arXiv:2208.07339)."""

from typing import TYPE_CHECKING

import torch

from heirloom.config.sections.quantization import QuantizationSection

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel


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
