"""The hardware that is here, and the command that spreads a program over it.

One kind of host so far: this machine alone. A cluster's host has the same two methods and differs in how many
nodes there are, which of them this is, and the address of the head.
"""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass

from heirloom.launcher.command import Program

CPU_RANKS = 2
"""Ranks in total on machines without a GPU, whatever their cores: the number of ranks decides the bytes of a result."""


@dataclass(frozen=True)
class Ranks:
    """How a program is spread: `per_node` ranks on each of `nodes` machines, on "cpu" or "gpu"."""

    nodes: int
    per_node: int
    device: str

    @property
    def world_size(self) -> int:
        return self.nodes * self.per_node


@dataclass(frozen=True)
class LocalHost:
    """This machine alone."""

    gpus: int

    def ranks(self, kind: str) -> Ranks:
        """Return one rank a GPU, CPU_RANKS without a GPU, and a single process for kind "python"."""
        device = "gpu" if self.gpus else "cpu"
        if kind == "python":
            return Ranks(nodes=1, per_node=1, device=device)
        return Ranks(nodes=1, per_node=self.gpus or CPU_RANKS, device=device)

    def command(self, program: Program, ranks: Ranks) -> list[str]:
        """Return the command line that runs `program` on `ranks` (torchrun: static rendezvous on the loopback)."""
        script = [str(program.script), *program.arguments]
        if program.kind == "python":
            return [sys.executable, *script]
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", "1", "--node-rank", "0", "--nproc-per-node", str(ranks.per_node)),
            *("--rdzv-backend", "static", "--master-addr", "127.0.0.1", "--master-port", str(free_port())),
            *script,
        ]


def this_host() -> LocalHost:
    """Find out what this machine offers, without importing torch."""
    return LocalHost(gpus=visible_gpus())


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


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
