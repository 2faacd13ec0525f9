"""`generation:` answers of a checkpoint to the held-out prompts of a dataset."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from heirloom.config.section import PassThroughSection

# What decides how a token is drawn, in the order in which transformers applies it.
SAMPLING = ("temperature", "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


class GenerationSection(PassThroughSection):
    """How a checkpoint answers; every other key goes to transformers.GenerationConfig."""

    engine: Literal["accelerate"] = Field("accelerate", description="what spreads the prompts over the ranks")
    dataset: str | None = Field(None, description="dataset whose test split gives the prompts; absent: the run's")
    batch_size: int = Field(8, ge=1, description="prompts a rank and forward pass")
    limit: int | None = Field(None, ge=1, description="only the first so many prompts; absent: all")
    default_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="type in which the checkpoint is loaded; auto: as it was saved"
    )
    max_new_tokens: int = Field(64, ge=1, description="longest answer, tokens")
    do_sample: bool = Field(False, description="draw from the distribution; false: greedy")
    seed: int = Field(0, description="do_sample: seed of the draws; each prompt has its own stream")
    temperature: float = Field(1.0, gt=0, description="do_sample: below 1 sharpens the distribution, above 1 flattens")
    top_k: int = Field(50, ge=0, description="do_sample: only the k likeliest tokens; 0: all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="do_sample: only the likeliest tokens that sum to this probability"
    )

    @property
    def sampling_arguments(self) -> dict[str, Any]:
        """The options that decide how a token is drawn, under transformers' names."""
        own = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return own | {key: value for key, value in self.passed_through.items() if key in SAMPLING}

    @property
    def search_arguments(self) -> dict[str, Any]:
        """All other keys for transformers.GenerationConfig."""
        others = {key: value for key, value in self.passed_through.items() if key not in SAMPLING}
        return {"max_new_tokens": self.max_new_tokens, **others}

    def rules(self) -> Iterator[tuple[str, str]]:
        others = self.passed_through
        if not self.do_sample:
            for key in ("seed", *SAMPLING):
                if key in self.model_fields_set or key in others:
                    yield key, "has no effect without do_sample: true; add that or delete it"
        elif (others.get("num_beams") or 1) > 1:
            yield "num_beams", "cannot be combined with do_sample: true; delete one of them"
        elif others.get("watermarking_config"):
            yield "watermarking_config", "cannot be combined with do_sample: true; delete one of them"
