"""What rewards and metrics need of this machine's environment, asked before anything is executed here."""

from collections.abc import Iterator
from importlib.util import find_spec

from heirloom.config.run import Run
from heirloom.evaluation.math_answers import check_installed
from pipeline.ledger import Ledger


def check_math_verify_here(ledger: Ledger) -> None:
    """Raise HeirloomError where a run to be executed has a reward or metric math_verify, and its package is missing.

    Nothing is asked of the light environment, in which no such stage runs.
    """
    if find_spec("torch") is None:
        return
    for name in ledger.to_do_or_to_follow():
        stage = ledger.graph.stages[name]
        run = ledger.project.runs.get(stage.run or "")
        for key in places_of_math_verify(run, stage.kind) if run is not None else ():
            check_installed(f"{name}: {run.path}: {key}")


def places_of_math_verify(run: Run, kind: str) -> Iterator[str]:
    """Yield the keys of a run that name math_verify and that its stage of a kind reads."""
    if kind in ("rewards", "train") and run.training is not None:
        for index, reward in enumerate(run.training.rewards or ()):
            if reward.function == "math_verify":
                yield f"training.rewards[{index}].function"
    if kind == "evaluate" and run.evaluation is not None:
        if "math_verify" in run.evaluation.metrics:
            yield "evaluation.metrics"
        if run.evaluation.win_by == "math_verify":
            yield "evaluation.win_by"
