"""`quantization:` load the base in 8 or 4 bits."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.parsing.section import Section

Dtype = Literal["float32", "bfloat16", "float16"]


class QuantizationSection(Section):
    """bitsandbytes, under the names of transformers.BitsAndBytesConfig: exactly one of the two widths."""

    load_in_8bit: bool = Field(False, description="8-bit weights (LLM.int8)")
    load_in_4bit: bool = Field(False, description="4-bit weights (QLoRA)")
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field("nf4", description="4-bit number format")
    bnb_4bit_use_double_quant: bool = Field(False, description="quantize the quantization constants too")
    bnb_4bit_compute_dtype: Dtype = Field("bfloat16", description="type of the computation")
    bnb_4bit_quant_storage: Literal["uint8", "float32", "bfloat16", "float16"] = Field(
        "uint8", description="type that packs the weights; ZeRO-3 shards them whatever it is"
    )
    llm_int8_threshold: float = Field(6.0, ge=0, description="activations above it are computed in 16 bits")

    def rules(self) -> Iterator[tuple[str, str]]:
        if self.load_in_8bit == self.load_in_4bit:
            yield "", "set exactly one of load_in_8bit and load_in_4bit to true, or delete the section"
            return
        width, other = ("load_in_8bit", "bnb_4bit_") if self.load_in_8bit else ("load_in_4bit", "llm_int8_")
        for key in sorted(self.model_fields_set):
            if key.startswith(other):
                yield key, f"has no effect beside {width}: true; delete it"
