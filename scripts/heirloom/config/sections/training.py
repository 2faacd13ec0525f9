"""`training:` our own few keys; all others are transformers' and TRL's, passed through under their names."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from heirloom.config.arguments.attention import MEANING
from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.parsing.section import PassThroughSection


class TrainingSection(PassThroughSection):
    """What decides the weights; other keys go to transformers.TrainingArguments or TRL's config of the trainer."""

    global_batch_size: int = Field(
        ge=1,
        description="sequences (DPO, ORPO: pairs) an optimizer step, over all ranks; gradient_accumulation_steps is "
        "global_batch_size / (per_device_train_batch_size × ranks)",
    )
    per_device_train_batch_size: int = Field(8, ge=1, description="sequences (pairs) a rank and forward pass")
    default_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type in which the base is loaded; auto: as it was saved"
    )
    attn_implementation: str | None = Field(
        None, description=f"{MEANING}transformers' choice; answers and scores use it too"
    )
    trust_remote_code: bool = Field(False, description="the same as `trust_remote_code` of the run, where it belongs")
    deterministic: bool = Field(
        False,
        description="only operations that repeat their results to the last bit, on GPUs too; the first "
        "batch's gradients are computed twice and compared (docs/training.md)",
    )
    ignore_bias_buffers: bool = Field(
        False, description="keep boolean buffers (attention masks of old models) out of data-parallel synchronisation"
    )
    seq_length: int | None = Field(
        None,
        ge=2,
        description="trainer: join text rows and cut them into rows of so many tokens; sft with packing: tokens of a "
        "packed row; absent: rows as they are, sft with packing: the dataset's max_length",
    )
    collator: CollatorName = Field(
        "default", description="what makes batches of rows (docs/training.md); default: the trainer's own"
    )
    pad_to_multiple_of: int | None = Field(
        None, ge=1, description="pad batches to a multiple of so many tokens; 8 suits a GPU's tensor cores"
    )
    mlm_probability: float = Field(0.15, gt=0, lt=1, description="collator mlm: share of the tokens that is masked")

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys for the trainer's own arguments class, as written in the file."""
        return {"per_device_train_batch_size": self.per_device_train_batch_size, **self.passed_through}

    @property
    def collation(self) -> dict[str, Any]:
        """The keys that say how batches are made, as `training.batches.collator_choice.make_collator` takes them."""
        return {
            "name": self.collator,
            "pad_to_multiple_of": self.pad_to_multiple_of,
            "mlm_probability": self.mlm_probability,
        }

    def rules(self) -> Iterator[tuple[str, str]]:
        if "mlm_probability" in self.model_fields_set and self.collator != "mlm":
            yield "mlm_probability", "has no effect without collator: mlm; add that or delete it"
