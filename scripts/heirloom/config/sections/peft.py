"""`peft:` train a low-rank adapter instead of all weights."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.parsing.section import Section

ALL_LINEAR = "all-linear"


class PeftSection(Section):
    """LoRA, under the names of peft.LoraConfig."""

    r: int = Field(8, ge=1, description="rank of the update matrices")
    lora_alpha: int = Field(16, ge=1, description="scale: the update is multiplied by lora_alpha / r")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the update, share")
    target_modules: list[str] | str = Field(
        ALL_LINEAR,
        description="modules that get an adapter: a list of names, names with commas between, or all-linear (all "
        "linear layers but the output layer)",
    )
    modules_to_save: list[str] = Field([], description="modules that are trained whole, e.g. embed_tokens, lm_head")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="biases that are trained")
    use_rslora: bool = Field(False, description="scale by lora_alpha / sqrt(r) (arXiv:2312.03732)")
    use_dora: bool = Field(False, description="learn magnitude and direction apart (arXiv:2402.09353)")

    @property
    def target_names(self) -> list[str] | None:
        """The names of the modules that get an adapter; None for all linear layers."""
        if self.target_modules == ALL_LINEAR:
            return None
        if isinstance(self.target_modules, str):
            return [name.strip() for name in self.target_modules.split(",")]
        return self.target_modules

    def rules(self) -> Iterator[tuple[str, str]]:
        names = self.target_names
        if names is not None and not (names and all(names)):
            yield "target_modules", "names no module; give names such as q_proj,v_proj, or all-linear"
        if names is not None and (both := sorted({*names} & {*self.modules_to_save})):
            yield (
                "modules_to_save",
                f"{', '.join(both)} stands in target_modules too: a module is trained whole or by an adapter",
            )
