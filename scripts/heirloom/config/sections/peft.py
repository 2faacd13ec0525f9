"""`peft:` train a low-rank adapter instead of all weights."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.parsing.section import Section

ALL_LINEAR = "all-linear"
BESIDE_PARAMETERS = {
    "lora_dropout": "cannot be applied to an adapter of a weight that is no layer of its own",
    "use_dora": "cannot be used with an adapter of a weight that is no layer of its own",
}
"""What peft cannot combine with adapters of weights that are no layers of their own: key → why."""


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
    target_parameters: list[str] = Field(
        [],
        description="weights that get an adapter and are no layers of their own, by the ends of their names: experts "
        "that a mixture of experts joins into one weight, e.g. experts.gate_up_proj, experts.down_proj",
    )
    modules_to_save: list[str] = Field([], description="modules that are trained whole, e.g. embed_tokens, lm_head")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="biases that are trained")
    use_rslora: bool = Field(False, description="scale by lora_alpha / sqrt(r) (arXiv:2312.03732)")
    use_dora: bool = Field(False, description="learn magnitude and direction apart (arXiv:2402.09353)")

    ensure_weight_tying: bool = Field(
        False, description="of tied embeddings: what is trained of one, whole or by an adapter, holds for the other"
    )
    merge: bool = Field(
        False,
        description="write the merged model; false: the checkpoint is the adapter alone, with its base's name and hash",
    )

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
        if names is not None and not (all(names) and (names or self.target_parameters)):
            yield "target_modules", "names no module; give names such as q_proj,v_proj, or all-linear"
        yield from self.parameter_rules()
        if names is not None and (both := sorted({*names} & {*self.modules_to_save})):
            yield (
                "modules_to_save",
                f"{', '.join(both)} stands in target_modules too: a module is trained whole or by an adapter",
            )

    def parameter_rules(self) -> Iterator[tuple[str, str]]:
        """Yield what peft cannot do with weights that are no layers of their own (peft.tuners.lora.ParamWrapper)."""
        weights = self.target_parameters
        if not all(weights):
            yield "target_parameters", "has an empty name; give ends of names such as experts.down_proj"
        for key in (each for each in BESIDE_PARAMETERS if weights and getattr(self, each)):
            yield key, f"{BESIDE_PARAMETERS[key]}, and target_parameters names such; delete one of the two"
        if both := sorted({part for name in weights for part in name.split(".")} & {*self.modules_to_save}):
            yield (
                "modules_to_save",
                f"{', '.join(both)} stands in target_parameters too: a weight is trained whole or by an adapter",
            )
