"""`training:` our own few keys; all others are transformers' and TRL's, passed through under their names."""

from typing import Any, Literal

from pydantic import Field

from heirloom.config.section import PassThroughSection


class TrainingSection(PassThroughSection):
    """What decides the weights; other keys go to transformers.TrainingArguments or TRL's config of the trainer."""

    global_batch_size: int = Field(
        ge=1,
        description="sequences (DPO, ORPO: pairs) an optimizer step, over all ranks; gradient_accumulation_steps is "
        "global_batch_size / (per_device_train_batch_size × ranks)",
    )
    per_device_train_batch_size: int = Field(8, ge=1, description="sequences (pairs) a rank and forward pass")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type in which the base is loaded; auto: as it was saved"
    )
    attn_implementation: str | None = Field(
        None, description="attention: eager, sdpa, flash_attention_2, flex_attention; absent: transformers' choice"
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys for the trainer's own arguments class, as written in the file."""
        return {"per_device_train_batch_size": self.per_device_train_batch_size, **self.passed_through}
