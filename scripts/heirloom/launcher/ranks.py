"""How a program is spread over machines: what every kind of host shares."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass

from heirloom.errors import HeirloomError
from heirloom.launcher.command import Program

CPU_RANKS = 2
"""Ranks in total on machines without a GPU, whatever their cores: the number of ranks decides the bytes of a result."""
TORCHRUN = ("-m", "torch.distributed.run")


@dataclass(frozen=True)
class Ranks:
    """How a program is spread: `per_node` ranks on each of `nodes` machines, on "cpu" or "gpu"."""

    nodes: int
    per_node: int
    device: str

    @property
    def world_size(self) -> int:
        return self.nodes * self.per_node


def spread(kind: str, machines: int, gpus: int, lacking: str = "", remedy: str = "") -> Ranks:
    """Return how a program of `kind` is spread over machines of `gpus` GPUs each.

    One rank a GPU, CPU_RANKS in total without GPUs, and a single process for kind "python". Raises HeirloomError when
    the machines cannot share the CPU ranks evenly: it says what is `lacking` and what to set, the `remedy`.
    """
    device = "gpu" if gpus else "cpu"
    if kind == "python":
        return Ranks(nodes=1, per_node=1, device=device)
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


def visible_gpus() -> int:
    """Return how many NVIDIA GPUs a program started here may use; CUDA_VISIBLE_DEVICES counts as CUDA reads it."""
    if not shutil.which("nvidia-smi"):
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    present = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def free_port(address: str) -> int:
    """Return a TCP port that nobody listens on right now, at an address of this machine ("": at any of them)."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]
