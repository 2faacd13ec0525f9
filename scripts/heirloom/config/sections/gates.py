"""`gates:` bounds that the scores of a run must keep: `>= 0.9`, `not worse than llama3-sft by 0.01`."""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.config.sections.lm_eval import LmEvalSection

HARNESS, CHANGE = "harness.", "change."
"""How the names of scores of the lm-evaluation-harness, and of changes from the base, begin."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BOUND = re.compile(rf"(>=|<=)\s*({NUMBER})")
NOT_WORSE = re.compile(rf"not worse(?: than ([A-Za-z0-9][\w-]*))? by ({NUMBER})")
FORMS = "expected `>= NUMBER`, `<= NUMBER`, `not worse by NUMBER` or `not worse than RUN by NUMBER`"
ALSO_GIVES = {"exact_match": ("answer_found",), "perplexity": ("nll_per_token",)}
"""Metric → scores of other names that it gives."""
WITHOUT_INTERVAL = ("chrf", "distinct", "token_counts")


@dataclass(frozen=True)
class Gate:
    """What a score must keep."""

    score: str
    """As the metrics file nests it: `exact_match`, `rouge.rougeL`; without the beginnings above."""
    of_harness: bool = False
    relation: str = ">="
    """`>=`, `<=`, or `not worse`."""
    bound: float = 0.0
    """Of `not worse` the margin."""
    than: str | None = None
    """`not worse`: the run it is compared with; None is the base of the training."""

    @property
    def name(self) -> str:
        """The score as config/ names it."""
        beginning = HARNESS if self.of_harness else CHANGE if self.relation == "not worse" and not self.than else ""
        return beginning + self.score


def parse_gate(name: str, said: str) -> Gate:
    """Return the gate that `name: said` means. Raises ValueError, a sentence without the key, when it means none."""
    of_harness, of_change = name.startswith(HARNESS), name.startswith(CHANGE)
    score = name.removeprefix(HARNESS).removeprefix(CHANGE)
    if found := BOUND.fullmatch(said.strip()):
        if of_change:
            raise ValueError(f"a change is not compared with a number: {said!r}; write `not worse by NUMBER`")
        return Gate(score, of_harness, found[1], finite(found[2]))
    if not (found := NOT_WORSE.fullmatch(said.strip())):
        raise ValueError(f"{said!r} is no gate; {FORMS}")
    than, margin = found[1], finite(found[2])
    if margin <= 0:
        raise ValueError(f"a margin of {found[2]} could never be shown to be kept; give one above 0")
    if than is None and not of_change:
        raise ValueError(
            f"not worse than what? write {CHANGE}{name} to compare with the base, or `not worse than RUN by`"
        )
    if than is not None and of_change:
        raise ValueError(f"is a change from the base already; write {score} to compare with {than}")
    return Gate(score, of_harness, "not worse", margin, than)


def gates_of(gates: dict[str, str] | None) -> Iterator[tuple[str, Gate]]:
    """Yield name and meaning of those gates that have one; the others are told by `gate_problems`."""
    for name, said in (gates or {}).items():
        with suppress(ValueError):
            yield name, parse_gate(name, said)


def finite(text: str) -> float:
    """Return a finite number. Raises ValueError."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def gate_problems(
    gates: dict[str, str], evaluation: EvaluationSection | None, lm_eval: LmEvalSection | None
) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, problem) for gates that mean nothing, or on scores that the run does not have."""
    if not gates:
        yield "gates", "names no score; give some or delete the section"
    for name, said in gates.items():
        try:
            gate = parse_gate(name, said)
        except ValueError as problem:
            yield f"gates.{name}", str(problem)
            continue
        if gate.of_harness:
            yield from ((f"gates.{name}", problem) for problem in harness_problems(gate, lm_eval))
        else:
            yield from ((f"gates.{name}", problem) for problem in score_problems(gate, evaluation))


def score_problems(gate: Gate, evaluation: EvaluationSection | None) -> Iterator[str]:
    """Yield why the run's `evaluation` does not give the score of a gate, or not so that a gate can decide."""
    metrics = evaluation.metrics if evaluation is not None else []
    given = [name for metric in metrics for name in (metric, *ALSO_GIVES.get(metric, ()))]
    if not any(gate.score == name or gate.score.startswith(f"{name}.") for name in given):
        yield f"the run has no score {gate.score}; its evaluation gives {', '.join(given) or 'none'}"
    elif gate.score.startswith(WITHOUT_INTERVAL):
        yield f"{gate.score} has no interval (docs/evaluation.md), so no gate could decide; choose another score"
    elif gate.relation == "not worse" and gate.than is None and not evaluation.base:
        yield "needs the base's scores; add evaluation.base: true"


def harness_problems(gate: Gate, lm_eval: LmEvalSection | None) -> Iterator[str]:
    """Yield why the run's `lm_eval` does not give the score of a gate."""
    if lm_eval is None:
        yield "needs scores of the lm-evaluation-harness; add `lm_eval:`"
    elif gate.relation == "not worse" and gate.than is None:
        yield "the harness does not score the base; compare with a run: `not worse than RUN by NUMBER`"
