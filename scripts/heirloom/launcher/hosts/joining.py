"""`launch.py join STAGE PROGRAM` on the worker hosts of a training job: wait for the head, run this host's ranks."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from heirloom.launcher import environment, processes, record
from heirloom.launcher.command import Program, parse_command
from heirloom.launcher.hosts import sagemaker
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.hosts.coordination import HeadHost, LaunchRequest, wait_for_head
from heirloom.launcher.hosts.sagemaker import SageMakerHost
from heirloom.launcher.processes import Outcome, say
from heirloom.launcher.work import WorkFolder, choose_folder, is_kept


def join(words: list[str]) -> int:
    """Run this host's ranks of a stage when the head launches it, and return the exit code.

    It is 0 whenever the head knows what has become of the stage, and when SIGTERM ends the wait: nothing has failed
    where a head restores a result, or has nothing to do.
    """
    host = sagemaker.find()
    if len(words) < 3 or host is None or host.number == 0:
        sys.exit(
            "usage: launch.py join STAGE KIND SCRIPT [ARGUMENTS], on the hosts of a SageMaker training job that are "
            "not its first one"
        )
    stage, program = words[0], parse_command(words[1:])
    say(f"{stage}: waiting for {host.names[0]}")
    folder = None

    def forget() -> None:
        if folder:
            folder.delete()

    while (asked := wait(host, stage, program, forget)) is not None:
        request, connection = asked
        folder = choose_folder(request.program, request.stage, request.ranks.world_size)
        outcome = run(host, request, folder, connection)
        if outcome.error:
            say(f"{stage} failed: {outcome.error}")
            return outcome.exit_code
        if not is_kept():  # else until the head has put the result where a lost host cannot take it
            break
    forget()
    return 0


def wait(
    host: SageMakerHost, stage: str, program: Program, forget: Callable[[], None]
) -> tuple[LaunchRequest, Connection] | None:
    """Wait for the head's request, None when it releases this host; SIGTERM ends this process well meanwhile."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    found = wait_for_head(host.names[0], host.names[host.number], stage, program, host.secret, forget)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return found


def run(host: SageMakerHost, request: LaunchRequest, folder: WorkFolder, connection: Connection) -> Outcome:
    """Run this host's ranks of what the head launches, and return what has become of all."""
    program = request.program
    variables = environment.for_program(
        program.kind, request.ranks, folder, request.stage.identity, request.commit, portable=program.portable
    )
    return processes.run(
        replace(host, told=request.port).command(program, request.ranks),
        {**os.environ, **variables},
        log=record.log_file(request.stage.name),
        signal_to_forward=host.signal_to_forward,
        peers=HeadHost(connection),
    )
