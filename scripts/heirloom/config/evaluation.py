"""`evaluation:` the scores of a checkpoint and of its generations."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.section import Section

# What each metric reads.
CHECKPOINT_METRICS = frozenset({"perplexity"})
GENERATION_METRICS = frozenset({"exact_match", "token_counts", "patterns"})


class EvaluationSection(Section):
    """Which scores, on which held-out rows."""

    metrics: list[Literal["perplexity", "exact_match", "patterns", "token_counts"]] = Field(
        min_length=1,
        description="perplexity (of the checkpoint); exact_match, patterns, token_counts (of its generations)",
    )
    dataset: str | None = Field(None, description="dataset whose test split perplexity is for; absent: the run's")
    batch_size: int = Field(8, ge=1, description="sequences a rank and forward pass, for perplexity")
    answer_pattern: str | None = Field(
        None,
        description="exact_match: regular expression whose group 1 is the answer, in completion and reference; "
        "absent: the whole text without surrounding white space",
    )
    patterns: dict[str, str] = Field(
        {}, description="patterns: a regular expression by name; the score is the share of completions that hold it"
    )

    @property
    def reads_checkpoint(self) -> bool:
        """Whether a metric runs the model."""
        return not CHECKPOINT_METRICS.isdisjoint(self.metrics)

    @property
    def reads_generations(self) -> bool:
        """Whether a metric reads the generated answers."""
        return not GENERATION_METRICS.isdisjoint(self.metrics)

    def rules(self) -> Iterator[tuple[str, str]]:
        if self.answer_pattern is not None:
            problem = regex_problem(self.answer_pattern)
            if problem is None and re.compile(self.answer_pattern).groups < 1:
                problem = "needs a group: put ( ) around what is the answer"
            if problem is not None:
                yield "answer_pattern", problem
            if "exact_match" not in self.metrics:
                yield "answer_pattern", "has no effect without exact_match in metrics; add that or delete it"
        for name, pattern in self.patterns.items():
            if (problem := regex_problem(pattern)) is not None:
                yield "patterns", f"{name} {problem}"
        if self.patterns and "patterns" not in self.metrics:
            yield "patterns", "has no effect without patterns in metrics; add that or delete it"
        if "patterns" in self.metrics and not self.patterns:
            yield "patterns", "is missing; give the regular expressions that metrics asks for"


def regex_problem(pattern: str) -> str | None:
    """Return why `pattern` is no regular expression; None when it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression: {error}"
    return None
