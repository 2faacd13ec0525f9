"""`make accept`: record a harmless code change without executing the stage again."""

from collections.abc import Iterable

from heirloom.errors import HeirloomError
from pipeline.execution import put_in_place
from pipeline.graph import Stage, dvcfile
from pipeline.ledger import (
    Action,
    Entry,
    Fingerprints,
    Ledger,
    code_differences,
    config_sections,
    dvc_lock,
    expected_entry,
    open_ledger,
    recorded_hashes,
    recorded_outs,
    write_entries,
)

HOLDING = (Action.CURRENT, Action.RESTORE)
"""What is to be done with a stage whose entry holds."""


def accept(stages: Iterable[str]) -> None:
    """Write the entries of `stages` anew: the code as it is now, everything else as it was recorded.

    All or none: raises HeirloomError, and changes nothing, for a stage that does not exist or was never run, for one
    that is stale for another reason than its code, whose result was edited, or that stands on one that must run.
    """
    ledger = open_ledger()
    names = list(dict.fromkeys(stages))
    for name in names:
        ledger.graph.stage(name)
    entries = dict(ledger.entries)
    accepted: dict[str, Entry] = {}
    told: list[str] = []
    with Fingerprints() as fingerprints:
        for name in [name for name in ledger.names if name in names]:  # in run order
            stage = ledger.graph.stages[name]
            if ledger.verdicts[name].action is Action.CURRENT:
                told.append(f"{name} is up to date")
                continue
            changed = code_only(stage, ledger, accepted, fingerprints)
            recorded = recorded_outs(entries)
            hash_of = recorded_hashes(ledger.graph, recorded, fingerprints.of)
            expected = expected_entry(stage, hash_of, config_sections(), recorded)
            entries[name] = accepted[name] = expected | {"outs": ledger.entries[name]["outs"]}
            told.append(f"{name} accepted in spite of: {'; '.join(changed)}")
    for name in accepted:
        if not put_in_place(name, ledger.entries[name]):
            raise HeirloomError(f"{name}: its result is nowhere to be had, so nothing is accepted: run `snakemake`")
    dvcfile.write(ledger.graph)
    with dvc_lock():
        write_entries(accepted)
    records = {name: ledger.history.made_with(name, ledger.entries[name]) for name in accepted}
    ledger.history.add(accepted, records)
    print(*told, sep="\n")


def code_only(stage: Stage, ledger: Ledger, accepted: dict[str, Entry], fingerprints: Fingerprints) -> list[str]:
    """Return what changed of a stage's code. Raises HeirloomError when anything else did, or waits to be made anew."""
    name, entry = stage.name, ledger.entries.get(stage.name)
    if entry is None:
        raise HeirloomError(f"{name} was never run, so there is no result to accept: run `snakemake`")
    holds = {*accepted, *(name for name, verdict in ledger.verdicts.items() if verdict.action in HOLDING)}
    waiting = [above for above in ledger.graph.upstream[name] if above not in holds]
    if waiting:
        raise HeirloomError(
            f"{name} cannot be accepted: it reads what {', '.join(waiting)} will make anew: run `snakemake`, or accept "
            "that one with it where only its code changed"
        )
    hash_of = recorded_hashes(ledger.graph, recorded_outs(ledger.entries), fingerprints.of)
    code, other = code_differences(stage, entry, hash_of, config_sections())
    if other:
        raise HeirloomError(
            f"{name} cannot be accepted: {'; '.join(other)}; only a change of code can be harmless: run `snakemake`"
        )
    for out in entry["outs"]:
        if fingerprints.of(out["path"]) not in (None, out["md5"]):
            raise HeirloomError(
                f"{name} cannot be accepted: {out['path']} was edited since it was made; `dvc checkout {out['path']}` "
                "brings back what was made"
            )
    return code
