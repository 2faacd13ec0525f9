"""What attacks begin with: a job between hosts, a connection of it, an object that does harm where it is unpickled."""

import socket
from pathlib import Path

from heirloom.launcher.command import Program
from heirloom.launcher.hosts.coordination import LaunchRequest
from heirloom.launcher.ledger import Stage
from heirloom.launcher.ranks import Ranks

HEAD = "127.0.0.1"
SECRET = b"a secret of the job, of 32 bytes"
PROGRAM = Program("torchrun", Path("scripts/sft_train.py"), ("--output", "x"))
REQUEST = LaunchRequest(PROGRAM, Stage("train-x", "a" * 64), Ranks(2, 8, "gpu"), commit="abc", port=4321)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection."""
    with socket.create_server((HEAD, 0)) as server:
        other = socket.create_connection(server.getsockname())
        return server.accept()[0], other


class Planted:
    """Leaves a file `pwned` in the current folder when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("pwned"),))
