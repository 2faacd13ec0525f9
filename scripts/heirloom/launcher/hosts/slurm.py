"""Several nodes of a Slurm job. A job on one node needs none of this: there a node is a machine like any other.

The launcher runs on the head, the first node of the job. It starts torchrun on every node by one `srun`; the nodes
share the file system, so they find the same environment, repository and work folder. Where a node is lost, srun waits
until Slurm misses it too (SlurmdTimeout) and starts the whole job again. Tested with Slurm 22.05.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from heirloom.errors import HeirloomError
from heirloom.launcher.command import Program
from heirloom.launcher.gpus import visible_gpus
from heirloom.launcher.hosts.coordination import LaunchRequest
from heirloom.launcher.processes import NO_PEERS, Peers
from heirloom.launcher.ranks import (
    CPU_RANKS,
    TORCHRUN,
    Ranks,
    free_port,
    single_process,
    spread,
    torchrun_arguments,
)

ON_EACH_NODE = f"""trap '' TERM
trap : INT HUP
"$0" {shlex.quote(str(TORCHRUN))} --signals-to-handle SIGINT,SIGHUP,SIGQUIT --node-rank "$SLURM_NODEID" "$@" || {{
    code=$?
    [ "$SLURM_NODEID" = 0 ] || sleep 10
    exit $code
}}"""
"""What srun runs on each node, with Python as $0.

Slurm sends SIGTERM to every process of a step, which trainings answer by a checkpoint, and the launcher, which has it
too, sends SIGINT after it. A second signal makes torchrun leave its ranks, so torchrun never hears of the first one.

The first node that fails ends the others (--kill-on-bad-exit). The head, whose rank 0 completes a checkpoint when the
ranks of all nodes have written theirs, must not be ended while it does: failures elsewhere count ten seconds later.
"""
KEPT = ("SLURM_JOB_ID", "SLURM_CONF", "SLURM_CLUSTERS")
"""What srun may know of its surroundings; the rest (tasks, CPUs and GPUs of a task around it) would shrink its step."""


@dataclass(frozen=True)
class SlurmHost:
    """The nodes of a Slurm job, the head first; `gpus` of each (Slurm gives a job the same number on all)."""

    job: str
    nodes: tuple[str, ...]
    gpus: int

    def ranks(self, kind: str) -> Ranks:
        """Return one rank a GPU, CPU_RANKS in total without GPUs, and a single process for kind "python".

        Raises HeirloomError when the nodes cannot share the CPU ranks evenly.
        """
        lacking = f"Slurm job {self.job} has {len(self.nodes)} nodes and no GPU that this process may use"
        remedy = f"resources.nodes to 1 or {CPU_RANKS}, or resources.gpus_per_node"
        return spread(kind, len(self.nodes), self.gpus, lacking, remedy)

    def shared(self, kind: str, asked: int | None) -> AbstractContextManager["SlurmHost"]:
        """Return all of the job: it was given what its stage asks for."""
        return nullcontext(self)

    def command(self, program: Program, ranks: Ranks) -> list[str]:
        """Return the command line that runs torchrun on every node; a single process runs here, on the head.

        The step shares CPUs, memory and GPUs with a step that this process may be a part of (--overlap), for which it
        would wait until the job's time is over, and has all of them without being bound to a single core.
        """
        if program.kind == "python":
            return single_process(program)
        hidden = [name for name in os.environ if name.startswith(("SLURM_", "SRUN_")) and name not in KEPT]
        count = str(ranks.nodes)
        return [
            *("env", *(word for name in hidden for word in ("-u", name))),
            *("srun", "--jobid", self.job, "--nodes", count, "--ntasks", count, "--ntasks-per-node", "1"),
            *("--overlap", "--cpu-bind=none", "--mpi=none", "--kill-on-bad-exit=1", "--disable-status"),
            *("sh", "-c", ON_EACH_NODE, sys.executable),
            *torchrun_arguments(program, ranks, address_of(self.nodes[0]), free_port("")),
        ]

    def signal_to_forward(self, signal_: int) -> int:
        """Return SIGINT: srun passes it on to all ranks (--disable-status), and kills them at once on any other."""
        return signal.SIGINT

    def start_workers(self, request: LaunchRequest) -> AbstractContextManager[Peers]:
        """Start nothing: srun starts the ranks of all nodes and ends with them."""
        return nullcontext(NO_PEERS)


def find() -> SlurmHost | None:
    """Return the nodes of the Slurm job that this process is a part of; None outside a job and for a single node.

    Raises HeirloomError when Slurm does not tell the nodes.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    listed = os.environ.get("SLURM_JOB_NODELIST") or ask("squeue", "--noheader", "--jobs", job, "--format", "%N")
    nodes = tuple(ask("scontrol", "show", "hostnames", listed).split())
    return SlurmHost(job, nodes, visible_gpus()) if len(nodes) > 1 else None


def address_of(node: str) -> str:
    """Return the address by which Slurm itself reaches a node; its name need not be one."""
    for word in ask("scontrol", "--oneliner", "show", "node", node).split():
        if word.startswith("NodeAddr="):
            return word.removeprefix("NodeAddr=")
    raise HeirloomError(f"`scontrol show node {node}` names no NodeAddr for ranks to meet at: ask your administrators")


def ask(*command: str) -> str:
    """Return what a command of Slurm prints. Raises HeirloomError with what it complains of."""
    if not shutil.which(command[0]):
        raise HeirloomError(
            f"SLURM_JOB_ID is set, but there is no `{command[0]}` on PATH to ask for the job's nodes: put Slurm's "
            "commands on PATH (in a container: mount them), or unset SLURM_JOB_ID to use this machine alone"
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise HeirloomError(f"`{' '.join(command)}` failed: {done.stderr.strip() or 'it printed nothing'}")
    return done.stdout.strip()
