"""`launch.py attend STAGE` on the hosts of a training job that are not its head: run what the head calls for."""

import os
import signal
import sys
from dataclasses import replace

from heirloom.launcher import environment, processes, record, sagemaker
from heirloom.launcher.followers import Following, wait_for_call
from heirloom.launcher.processes import say
from heirloom.launcher.work import choose_folder


def attend(words: list[str]) -> int:
    """Wait until the head executes the stage, run this host's ranks of it, and return the exit code.

    It is 0 whenever the head knows what has become of the stage, and when SIGTERM ends the wait: nothing has failed
    where a head restores a result, or has nothing to do.
    """
    host = sagemaker.find()
    if len(words) != 1 or host is None or host.number == 0:
        sys.exit("usage: launch.py attend STAGE, on the hosts of a SageMaker training job that are not its first one")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    say(f"{words[0]}: waiting for {host.names[0]}")
    connection, call = wait_for_call(host.names[0], host.names[host.number], words[0])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    folder = choose_folder(call.program, call.stage, call.ranks.world_size)
    kind = call.program.kind
    variables = environment.for_program(kind, call.ranks, folder, call.stage.identity, call.commit)
    outcome = processes.run(
        replace(host, port=call.port).command(call.program, call.ranks),
        {**os.environ, **variables},
        log=record.log_file(call.stage.name),
        as_sent=host.as_sent,
        company=Following(connection),
    )
    if outcome.error:
        say(f"{call.stage.name} failed: {outcome.error}")
    elif outcome.exit_code == 0:
        folder.delete()
    return outcome.exit_code
