"""`peft:` train a low-rank adapter instead of all weights."""

from typing import Literal

from pydantic import Field

from heirloom.config.section import Section


class PeftSection(Section):
    """LoRA, under the names of peft.LoraConfig."""

    r: int = Field(8, ge=1, description="rank of the update matrices")
    lora_alpha: int = Field(16, ge=1, description="scale: the update is multiplied by lora_alpha / r")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the update, share")
    target_modules: list[str] | str = Field(
        "all-linear", description="modules that get an adapter: their names, or all-linear"
    )
    modules_to_save: list[str] = Field([], description="modules that are trained whole, e.g. embed_tokens, lm_head")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="biases that are trained")
    use_rslora: bool = Field(False, description="scale by lora_alpha / sqrt(r) (arXiv:2312.03732)")
    use_dora: bool = Field(False, description="learn magnitude and direction apart (arXiv:2402.09353)")
