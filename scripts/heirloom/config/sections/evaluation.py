"""`evaluation:` the scores of a checkpoint and of its generations."""

import re
from collections.abc import Iterator

from pydantic import Field

from heirloom.config.arguments.attention import MEANING
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.section import Section

# What each metric reads.
CHECKPOINT_METRICS = ("perplexity", "preference")
REWARD = "reward"
ANSWER_METRICS = ("exact_match", "numeric_match", "math_verify", "patterns", "rouge", "bleu", "chrf")
ANSWER_METRICS += ("repetition", "distinct", "token_counts", REWARD)
# What can say of a single prompt which of two answers is better.
WINS_BY = ("exact_match", "numeric_match", "math_verify", "rouge")

USER_FUNCTION = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"


def choices(known: tuple[str, ...]) -> dict[str, list[dict]]:
    """Return the JSON Schema of a known name or a `module:function`, with which editors complete and check."""
    return {"anyOf": [{"enum": list(known)}, {"type": "string", "pattern": f"^{USER_FUNCTION}$"}]}


class EvaluationSection(Section):
    """Which scores, on which held-out rows."""

    metrics: list[str] = Field(
        min_length=1,
        description="of the checkpoint: perplexity, preference; of its generations: reward, exact_match, "
        "numeric_match, math_verify, patterns, rouge, bleu, chrf, repetition, distinct, token_counts, or your own "
        "as `module:function`",
        json_schema_extra={"items": choices(CHECKPOINT_METRICS + ANSWER_METRICS)},
    )
    dataset: str | None = Field(None, description="dataset whose test split perplexity is for; absent: the run's")
    batch_size: int = Field(8, ge=1, description="sequences a rank and forward pass: perplexity, preference, reward")
    attn_implementation: str | None = Field(
        None, description=f"perplexity and preference: {MEANING}as the run was trained"
    )
    answer_pattern: str | None = Field(
        None,
        description="exact_match: regular expression whose group 1 is the answer, in completion and reference; "
        "absent: the whole text without surrounding white space",
    )
    patterns: dict[str, str] = Field(
        {}, description="patterns: a regular expression by name; the score is the share of completions that hold it"
    )
    preference_dataset: str | None = Field(
        None, description="preference: dataset whose test split holds the pairs; absent: the run's"
    )
    beta: float = Field(
        0.1,
        gt=0,
        allow_inf_nan=False,
        description="preference: what the difference of log-probabilities to the base is multiplied with",
    )
    reward_model: str | None = Field(
        None, description="reward: the run whose reward model (trainer: reward) scores the answers"
    )
    base: bool = Field(False, description="score the base of the training as well, on the same prompts and rows")
    against: list[str] = Field([], description="runs that answer the same prompts, to count who wins")
    win_by: str | None = Field(
        None,
        description="against: what decides a prompt: exact_match, numeric_match, math_verify, rouge (ROUGE-L) or "
        "your own `module:function`",
        json_schema_extra=choices(WINS_BY),
    )

    @property
    def reads_checkpoint(self) -> bool:
        """Whether a metric runs the model."""
        return not set(CHECKPOINT_METRICS).isdisjoint(self.metrics)

    @property
    def scores_answers(self) -> bool:
        """Whether a metric is of the generated answers."""
        return not set(self.metrics) <= set(CHECKPOINT_METRICS)

    @property
    def reads_generations(self) -> bool:
        """Whether the generated answers are scored, or compared with another run's."""
        return self.scores_answers or bool(self.against)

    @property
    def user_functions(self) -> list[tuple[str, str]]:
        """The key and the `module:function` of each function of the user's own."""
        named = [(f"metrics.{index}", metric) for index, metric in enumerate(self.metrics)]
        return [(key, name) for key, name in (*named, ("win_by", self.win_by or "")) if ":" in name]

    def compares_by(self, metric: str) -> bool:
        """Whether the scores, or who wins, go by `metric`."""
        return metric in self.metrics or self.win_by == metric

    def rules(self) -> Iterator[tuple[str, str]]:
        for index, metric in enumerate(self.metrics):
            if (problem := name_problem(metric, CHECKPOINT_METRICS + ANSWER_METRICS)) is not None:
                yield f"metrics.{index}", problem
            elif metric in self.metrics[:index]:
                yield f"metrics.{index}", f"{metric} is given twice; keep one"
        yield from self.pattern_problems()
        yield from self.comparison_problems()
        if self.reward_model is not None and REWARD not in self.metrics:
            yield "reward_model", f"has no effect without {REWARD} in metrics; add that or delete it"
        if self.reward_model is None and REWARD in self.metrics:
            yield "reward_model", "is missing; name the run whose reward model scores the answers"
        for key in ("preference_dataset", "beta"):
            if key in self.model_fields_set and "preference" not in self.metrics:
                yield key, "has no effect without preference in metrics; add that or delete it"

    def pattern_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the regular expressions."""
        if self.answer_pattern is not None:
            problem = regex_problem(self.answer_pattern)
            if problem is None and re.compile(self.answer_pattern).groups < 1:
                problem = "needs a group: put ( ) around what is the answer"
            if problem is not None:
                yield "answer_pattern", problem
            if not self.compares_by("exact_match"):
                yield "answer_pattern", "has no effect without exact_match in metrics; add that or delete it"
        for name, pattern in self.patterns.items():
            if (problem := regex_problem(pattern)) is not None:
                yield "patterns", f"{name} {problem}"
        if self.patterns and "patterns" not in self.metrics:
            yield "patterns", "has no effect without patterns in metrics; add that or delete it"
        if "patterns" in self.metrics and not self.patterns:
            yield "patterns", "is missing; give the regular expressions that metrics asks for"

    def comparison_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the keys that compare with the base and with other runs."""
        if self.base and set(self.metrics) == {"preference"}:
            yield "base", "has no effect: preference measures against the base already; add another metric or delete it"
        if self.against and self.win_by is None:
            yield "win_by", f"is missing; say what decides who wins: {', '.join(WINS_BY)} or module:function"
        if self.win_by is not None:
            if (problem := name_problem(self.win_by, WINS_BY)) is not None:
                yield "win_by", problem
            if not self.against:
                yield "win_by", "has no effect without against; name the runs to compare with or delete it"


def name_problem(name: str, known: tuple[str, ...]) -> str | None:
    """Return why `name` is neither one of the `known` metrics nor a `module:function`; None when it is."""
    if ":" in name and not re.fullmatch(USER_FUNCTION, name):
        return f"{name!r} must look like module:function, e.g. my_metrics:politeness"
    if ":" not in name and name not in known:
        return f"there is no metric {name} here; {did_you_mean(name, known)} (your own: module:function)"
    return None


def regex_problem(pattern: str) -> str | None:
    """Return why `pattern` is no regular expression; None when it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression: {error}"
    return None
