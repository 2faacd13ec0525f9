"""`generation:` answers of a checkpoint to the held-out prompts of a dataset."""

from typing import Any, Literal

from pydantic import Field

from heirloom.config.section import PassThroughSection


class GenerationSection(PassThroughSection):
    """How a checkpoint answers; every other key goes to transformers.GenerationConfig."""

    engine: Literal["accelerate"] = Field("accelerate", description="what spreads the prompts over the ranks")
    dataset: str | None = Field(None, description="dataset whose test split gives the prompts; absent: the run's")
    batch_size: int = Field(8, ge=1, description="prompts a rank and forward pass")
    limit: int | None = Field(None, ge=1, description="only the first so many prompts; absent: all")
    seed: int = Field(0, description="seed of the sampling (do_sample: true)")
    max_new_tokens: int = Field(64, ge=1, description="longest answer, tokens")
    do_sample: bool = Field(False, description="draw from the distribution; false: greedy")

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys for transformers.GenerationConfig."""
        return {"max_new_tokens": self.max_new_tokens, "do_sample": self.do_sample, **self.passed_through}
