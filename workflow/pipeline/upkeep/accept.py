"""`make accept`: record a harmless code change without executing the stage again."""

from collections.abc import Iterable

from heirloom.errors import HeirloomError
from pipeline.graph import dvcfile
from pipeline.ledger import Action, open_ledger, read_lock


def accept(stages: Iterable[str]) -> None:
    """Write the entries of `stages` anew from the code, the config and the artifacts as they are now.

    Raises HeirloomError for a stage that does not exist, was never run, or whose result is not here: there would
    be nothing that could be recorded.
    """
    from dvc.cli import main as dvc

    ledger = open_ledger()
    for name in stages:
        if name not in ledger.verdicts:
            raise HeirloomError(f"no stage is called {name}; `make plan` lists the stages that are not up to date")
        if name not in read_lock():
            raise HeirloomError(f"{name} was never run, so there is no result to accept: run `snakemake`")
        verdict = ledger.verdicts[name]
        if verdict.action is Action.CURRENT:
            print(f"{name} is up to date")
            continue
        dvcfile.write(ledger.graph)
        if dvc(["--wait-for-lock", "commit", "--force", "--quiet", name]) != 0:
            raise HeirloomError(f"{name}: its result is not in the working tree; restore it first: dvc checkout {name}")
        print(f"{name} accepted in spite of: {'; '.join(verdict.reasons)}")
