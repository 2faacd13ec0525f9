"""Several hosts of a SageMaker training job. A job on one host needs none of this: it is a machine like any other.

The container entry of snakemake-executor-plugin-sagemaker says by variables which hosts there are. The first host, the
head, brings the stage up to date and with it starts the launcher; the others, its workers, run `launch.py join STAGE`,
which waits until the head's launcher starts them (launcher.hosts.coordination). Hosts share no disk: each has the code
and the stage's inputs, and keeps what its own ranks write. Only the first host writes the stage's results.
"""

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.launcher.command import Program
from heirloom.launcher.gpus import efa_plugin, plugin_problem, visible_gpus
from heirloom.launcher.hosts.coordination import LaunchRequest, WorkerHosts, release_workers
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

SECRET_FILE = "SNAKEMAKE_SAGEMAKER_SECRET_FILE"
"""Names the file with what the hosts of this job know and nobody else does; its owner alone can read it."""


@dataclass(frozen=True)
class SageMakerHost:
    """The hosts of a training job, the head first; this one is `names[number]` and has `gpus`, as each has.

    By `secret` hosts know each other.
    """

    names: tuple[str, ...]
    number: int
    gpus: int
    secret: bytes = field(repr=False)
    told: int | None = None
    """The port of the head at which ranks meet, where another host has chosen it."""

    @cached_property
    def port(self) -> int:
        """Chosen at first use, when ranks are about to bind it: any connection that is opened before may get it."""
        return self.told or free_port("")

    def ranks(self, kind: str) -> Ranks:
        """Return one rank a GPU, CPU_RANKS in total without GPUs, and a single process for kind "python".

        Raises HeirloomError when the hosts cannot share the CPU ranks evenly, and when the job asks for EFA and the
        image lacks it: NCCL would take TCP and say nothing, at the price of the fast machines.
        """
        if kind != "python" and self.gpus and os.environ.get("FI_PROVIDER") == "efa":
            plugin = efa_plugin()
            problem = "has no NCCL plugin for EFA" if plugin is None else plugin_problem(plugin)
            if problem:
                found = problem if plugin is None else f"cannot load its NCCL plugin for EFA, {plugin} ({problem})"
                raise HeirloomError(
                    f"resources.efa is true, and this image {found}: the {len(self.names)} hosts would talk over TCP, "
                    "many times slower; build the image with EFA_VERSION (docs/image.md), or set efa: false"
                )
        lacking = f"the training job has {len(self.names)} hosts without a GPU"
        remedy = f"resources.instance_count to 1 or {CPU_RANKS}, or an instance_type with GPUs"
        return spread(kind, len(self.names), self.gpus, lacking, remedy)

    def shared(self, kind: str, asked: int | None) -> AbstractContextManager["SageMakerHost"]:
        """Return all of the job: it was given what its stage asks for."""
        return nullcontext(self)

    def command(self, program: Program, ranks: Ranks) -> list[str]:
        """Return the command line that runs this host's ranks; a single process runs on the head alone."""
        if program.kind == "python":
            return single_process(program)
        arguments = torchrun_arguments(program, ranks, self.names[0], self.port)
        return [sys.executable, str(TORCHRUN), "--node-rank", str(self.number), *arguments]

    def signal_to_forward(self, signal: int) -> int:
        return signal

    def start_workers(self, request: LaunchRequest) -> AbstractContextManager[Peers]:
        """Have the workers start their ranks too, and stay in touch with them while the block runs."""
        if request.ranks.nodes == 1:
            return nullcontext(NO_PEERS)
        return WorkerHosts(self.names[0], self.names[1:], replace(request, port=self.port), self.secret)

    def release_workers(self, stage: str) -> None:
        """Tell the workers that the stage's result is safe, so that they delete their work in progress too."""
        release_workers(self.names[0], self.names[1:], stage, self.secret)


def find() -> SageMakerHost | None:
    """Return the hosts of the training job that this process runs in; None outside one and for a single host.

    Raises HeirloomError when its hosts have no secret, or one that could be guessed.
    """
    if int(os.environ.get("SM_HOST_COUNT", "1")) == 1:
        return None
    file = Path(os.environ.get(SECRET_FILE, ""))
    secret = file.read_bytes().strip() if file.is_file() else b""
    if len(secret) < 32:
        raise HeirloomError(
            f"{SECRET_FILE} names no file with a secret of at least 32 bytes, by which the hosts of this job know each "
            "other: build the image again, so that it has this version of snakemake-executor-plugin-sagemaker"
        )
    names = tuple(json.loads(os.environ["SM_HOSTS"]))
    return SageMakerHost(names, int(os.environ["SM_CURRENT_HOST_RANK"]), visible_gpus(), secret)
