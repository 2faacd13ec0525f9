"""`evaluation:` the scores of a checkpoint and of its generations."""

from typing import Literal

from pydantic import Field

from heirloom.config.section import Section

# What each metric reads.
CHECKPOINT_METRICS = frozenset({"perplexity"})
GENERATION_METRICS = frozenset({"exact_match", "token_counts"})


class EvaluationSection(Section):
    """Which scores, on which held-out rows."""

    metrics: list[Literal["perplexity", "exact_match", "token_counts"]] = Field(
        min_length=1, description="perplexity (of the checkpoint); exact_match, token_counts (of its generations)"
    )
    dataset: str | None = Field(None, description="dataset whose test split perplexity is for; absent: the run's")
    batch_size: int = Field(8, ge=1, description="sequences a rank and forward pass, for perplexity")

    @property
    def reads_checkpoint(self) -> bool:
        """Whether a metric runs the model."""
        return not CHECKPOINT_METRICS.isdisjoint(self.metrics)

    @property
    def reads_generations(self) -> bool:
        """Whether a metric reads the generated answers."""
        return not GENERATION_METRICS.isdisjoint(self.metrics)
