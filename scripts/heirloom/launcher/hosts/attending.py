"""`launch.py attend STAGE` on the hosts of a training job that are not its head: run what the head calls for."""

import os
import signal
import sys
from dataclasses import replace

from heirloom.launcher import environment, processes, record
from heirloom.launcher.hosts import sagemaker
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.hosts.followers import Call, Following, wait_for_head
from heirloom.launcher.hosts.sagemaker import SageMakerHost
from heirloom.launcher.processes import Outcome, say
from heirloom.launcher.work import WorkFolder, choose_folder, is_kept


def attend(words: list[str]) -> int:
    """Run this host's ranks of a stage when the head executes it, and return the exit code.

    It is 0 whenever the head knows what has become of the stage, and when SIGTERM ends the wait: nothing has failed
    where a head restores a result, or has nothing to do.
    """
    host = sagemaker.find()
    if len(words) != 1 or host is None or host.number == 0:
        sys.exit("usage: launch.py attend STAGE, on the hosts of a SageMaker training job that are not its first one")
    (stage,) = words
    say(f"{stage}: waiting for {host.names[0]}")
    folder = None
    while (called := wait(host, stage)) is not None:
        call, connection = called
        folder = choose_folder(call.program, call.stage, call.ranks.world_size)
        outcome = run(host, call, folder, connection)
        if outcome.error:
            say(f"{stage} failed: {outcome.error}")
            return outcome.exit_code
        if not is_kept():  # else until the head has put the result where a lost host cannot take it
            break
    if folder:
        folder.delete()
    return 0


def wait(host: SageMakerHost, stage: str) -> tuple[Call, Connection] | None:
    """Wait for the head's call, None when it dismisses this host; SIGTERM ends this process well meanwhile."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    found = wait_for_head(host.names[0], host.names[host.number], stage)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return found


def run(host: SageMakerHost, call: Call, folder: WorkFolder, connection: Connection) -> Outcome:
    """Run this host's ranks of what the head has called for, and return what has become of all."""
    kind = call.program.kind
    variables = environment.for_program(kind, call.ranks, folder, call.stage.identity, call.commit)
    return processes.run(
        replace(host, port=call.port).command(call.program, call.ranks),
        {**os.environ, **variables},
        log=record.log_file(call.stage.name),
        as_sent=host.as_sent,
        company=Following(connection),
    )
