"""What rewards need of this machine's environment, asked before anything is executed here."""

from importlib.util import find_spec

from heirloom.training.rewards.math_answers import check_installed
from pipeline.ledger import Ledger


def check_math_verify_here(ledger: Ledger) -> None:
    """Raise HeirloomError where a run to be executed has the reward math_verify, and its package is not installed.

    Nothing is asked of the light environment, in which no such stage runs.
    """
    if find_spec("torch") is None:
        return
    for name in ledger.to_do_or_to_follow():
        stage = ledger.graph.stages[name]
        run = ledger.project.runs.get(stage.run or "") if stage.kind in ("rewards", "train") else None
        rewards = run.training.rewards or () if run is not None and run.training is not None else ()
        for index, reward in enumerate(rewards):
            if reward.function == "math_verify":
                check_installed(f"{name}: {run.path}: training.rewards[{index}]")
