"""Start a stage's program on the hardware that is here.

    python scripts/launch.py python SCRIPT [ARGUMENTS]      one process
    python scripts/launch.py torchrun SCRIPT [ARGUMENTS]    one rank a GPU, or two CPU ranks with one thread each
    python scripts/launch.py join STAGE KIND SCRIPT …       this host's ranks of a stage that another host launches

In a Slurm job of several nodes the ranks are spread over all of them (docs/slurm.md), in a SageMaker training job of
several hosts too: there the first one launches, and the others join (docs/sagemaker.md).

The program's output goes to the terminal and to logs/STAGE.log, facts about the execution (times, commit, machine,
versions) to .heirloom/records/STAGE.json, a training's speed and memory by step to .heirloom/throughput/STAGE.csv. The
program keeps its work in progress in $HEIRLOOM_WORK_DIR, which a finished stage deletes and an interrupted one finds
again. No process outlives the launcher, however it dies.

SIGTERM, SIGINT and SIGHUP go on to the program. It has $HEIRLOOM_GRACE_SECONDS (110) to end, a training to write a
checkpoint, before it is killed; the same signal once more ends it at once.

Exit code: the program's; 128 + n after signal n; 75 when the stage is already running elsewhere.
Where a stage runs is no part of its identity: neither this file nor `heirloom.launcher` makes a result stale.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # Python leaves it out where PYTHONSAFEPATH is set
os.environ.pop("PYTHONSAFEPATH", None)

from heirloom.data.hidden_token import hide_token

if __name__ == "__main__":
    hide_token()  # before anything else is imported: it would stand in the reaper's command line to the end

# isort: split
from heirloom.errors import HeirloomError
from heirloom.failures import sentence_of
from heirloom.launcher import environment, ledger, processes, record, work
from heirloom.launcher.command import Program, parse_command
from heirloom.launcher.commit import current_commit
from heirloom.launcher.hosts import joining
from heirloom.launcher.hosts.coordination import LaunchRequest
from heirloom.launcher.hosts.detection import Host, this_host
from heirloom.records.measured import measured_in


def main() -> int:
    if sys.argv[1:2] == ["join"]:
        return joining.join(sys.argv[2:])
    program = parse_command(sys.argv[1:])
    whole = this_host()
    whole.ranks(program.kind)  # it refuses before anything of the stage is touched

    stage = ledger.begin(program)
    if stage.restored:
        print(f"{stage.name}: restored from an earlier identical execution", flush=True)
        return 0

    with whole.shared(program.kind, stage.gpus) as host:
        return execute(program, stage, host)


def execute(program: Program, stage: ledger.Stage, host: Host) -> int:
    """Run a stage's program on the ranks that a host has for it; return the exit code."""
    ranks = host.ranks(program.kind)
    commit = current_commit()
    with (
        work.work_folder(program, stage, ranks.world_size) as folder,
        record.execution(program, stage, ranks, commit) as facts,
    ):
        variables = environment.for_program(
            program.kind, ranks, folder, stage.identity, commit, portable=program.portable
        )
        with host.start_workers(LaunchRequest(program, stage, ranks, commit)) as peers:
            outcome = processes.run(
                host.command(program, ranks),
                {**os.environ, **variables},
                log=record.log_file(stage.name),
                signal_to_forward=host.signal_to_forward,
                peers=peers,
            )
        facts.exit_code = outcome.exit_code
        facts.notes = record.notes_in(folder.path)
        facts.arithmetic = record.arithmetic_in(folder.path)
        record.keep_throughput(folder.path, stage.name)
        facts.measured = measured_in(folder.path)
        if outcome.exit_code:
            record.tell_failure(stage.name, outcome.error)
        else:
            facts.outs = ledger.made(stage)
            if not work.is_kept():
                folder.delete()
    return outcome.exit_code or ledger.end(stage)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HeirloomError as mistake:
        sys.exit(f"launch.py: {mistake}")
    except OSError as failure:
        sys.exit(f"launch.py: {sentence_of(failure) or failure}")
