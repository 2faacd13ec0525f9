"""How a program is spread over machines: what every kind of host shares."""

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.launcher.command import Program
from heirloom.launcher.gpus import promised_gpus

CPU_RANKS = 2
"""Ranks in total on machines without a GPU, whatever their cores: the number of ranks decides the bytes of a result."""
TORCHRUN = Path(__file__).parent / "hosts" / "torchrun.py"
"""torchrun, for the ranks of several machines."""


@dataclass(frozen=True)
class Ranks:
    """How a program is spread: `per_node` ranks on each of `nodes` machines, on "cpu" or "gpu"."""

    nodes: int
    per_node: int
    device: str
    gpus: int = 0
    """GPUs of a machine, with which other stages share its cores; 0: no more than its ranks have."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.per_node


def spread(kind: str, machines: int, gpus: int, lacking: str = "", remedy: str = "") -> Ranks:
    """Return how a program of `kind` is spread over machines of `gpus` GPUs each.

    One rank a GPU, CPU_RANKS in total without GPUs, and a single process for kind "python". Raises HeirloomError when
    the machines cannot share the CPU ranks evenly: it says what is `lacking` and what to set, the `remedy`. And when
    there should be a GPU: a training that begins on the CPU of a GPU machine would cost hours and tell nobody.
    """
    device = "gpu" if gpus else "cpu"
    if kind == "python":
        return Ranks(nodes=1, per_node=1, device=device)
    if not gpus and (promise := promised_gpus()):
        raise HeirloomError(
            f"{promise}, but `nvidia-smi -L` lists no GPU, so ranks would compute on the CPU: put nvidia-smi on PATH "
            "(in a container: its `utility` capability), see what `make doctor` says of the driver, or set "
            "CUDA_VISIBLE_DEVICES= (empty) to want the CPU"
        )
    if not gpus and CPU_RANKS % machines:
        raise HeirloomError(f"{lacking}: {CPU_RANKS} CPU ranks in total cannot be shared evenly; set {remedy}")
    return Ranks(nodes=machines, per_node=gpus or CPU_RANKS // machines, device=device)


def single_process(program: Program) -> list[str]:
    """Return the command line of a program of kind "python"."""
    return [sys.executable, str(program.script), *program.arguments]


def torchrun_arguments(program: Program, ranks: Ranks, address: str, port: int) -> list[str]:
    """Return torchrun's arguments on any of the nodes, but for `--node-rank`: they meet at the head's address and port.

    The rendezvous is static, so the order of ranks is known beforehand and no node waits for another one to be chosen.
    """
    return [
        *("--nnodes", str(ranks.nodes), "--nproc-per-node", str(ranks.per_node)),
        *("--rdzv-backend", "static", "--master-addr", address, "--master-port", str(port)),
        *(str(program.script), *program.arguments),
    ]


def free_port(address: str) -> int:
    """Return a TCP port that nobody listens on right now, at an address of this machine ("": at any of them)."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]
