"""The hardware that is here, and the command that spreads a program over it.

Each kind of host has the methods of `Host`. Kinds that span machines have a module each, with a function that finds
out whether this process runs on one; `this_host` asks them in turn.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from heirloom.launcher.command import Program
from heirloom.launcher.gpus import visible_gpus
from heirloom.launcher.hosts import sagemaker, slurm
from heirloom.launcher.hosts.coordination import LaunchRequest
from heirloom.launcher.hosts.devices import VISIBLE, claimed, devices_here, given_out, wanted
from heirloom.launcher.processes import NO_PEERS, Peers
from heirloom.launcher.ranks import (
    Ranks,
    free_port,
    single_process,
    spread,
    torchrun_arguments,
)

TORCHRUN_HERE = Path(__file__).with_name("torchrun_here.py")
"""torchrun, with a place to meet that other machines cannot reach."""


class Host(Protocol):
    """What the launcher asks of the hardware, whatever it is."""

    def ranks(self, kind: str) -> Ranks:
        """Return how a program of `kind` ("python" or "torchrun") is spread. Raises HeirloomError when it cannot be."""

    def shared(self, kind: str, asked: int | None) -> AbstractContextManager["Host"]:
        """Return the part of the hardware that a program of `kind` gets which asks for so many GPUs, None for all."""

    def command(self, program: Program, ranks: Ranks) -> list[str]:
        """Return the command line that runs `program` on `ranks`, those that other hosts start themselves excepted.

        It ends when the last of them has ended.
        """

    def signal_to_forward(self, signal: int) -> int:
        """Return the signal to send to the command when the launcher has got `signal`."""

    def start_workers(self, request: LaunchRequest) -> AbstractContextManager[Peers]:
        """Have the other hosts start their ranks, where no command of this host's does."""


@dataclass(frozen=True)
class LocalHost:
    """This machine alone."""

    gpus: int
    of_machine: int = 0
    """GPUs of the whole machine, where a stage has some of them."""

    def ranks(self, kind: str) -> Ranks:
        """Return one rank a GPU, CPU_RANKS without a GPU, and a single process for kind "python"."""
        return replace(spread(kind, 1, self.gpus), gpus=self.of_machine)

    @contextmanager
    def shared(self, kind: str, asked: int | None) -> Iterator["LocalHost"]:
        """Return this machine with the GPUs that a program of `kind` gets, and show it no others; wait for them.

        `asked` is their number, None for all. Raises HeirloomError for more than there are.
        """
        if not self.gpus or given_out() or (kind == "python" and asked is None):
            yield self
            return
        devices = devices_here()
        with claimed(wanted(asked, devices), devices) as given:
            os.environ[VISIBLE] = ",".join(device.name for device in given)
            yield LocalHost(gpus=len(given), of_machine=len(devices))

    def command(self, program: Program, ranks: Ranks) -> list[str]:
        """Return the command line that runs `program` on `ranks`, which meet on the loopback."""
        if program.kind == "python":
            return single_process(program)
        address = "127.0.0.1"
        arguments = torchrun_arguments(program, ranks, address, free_port(address))
        return [sys.executable, str(TORCHRUN_HERE), "--node-rank", "0", *arguments]

    def signal_to_forward(self, signal: int) -> int:
        return signal

    def start_workers(self, request: LaunchRequest) -> AbstractContextManager[Peers]:
        return nullcontext(NO_PEERS)


def this_host() -> Host:
    """Find out what this machine offers, or the cluster that it is a part of, without importing torch.

    Raises HeirloomError when a cluster does not answer.
    """
    return sagemaker.find() or slurm.find() or LocalHost(gpus=visible_gpus())
