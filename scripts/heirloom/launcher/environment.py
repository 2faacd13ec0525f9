"""The environment variables that a stage's program gets on top of the user's own."""

import math
import os
from pathlib import Path

from heirloom.arithmetic.processor import PORTABLE
from heirloom.launcher.commit import VARIABLE as COMMIT
from heirloom.launcher.gpus import efa_variables, library_path
from heirloom.launcher.grace import grace_seconds
from heirloom.launcher.ranks import Ranks
from heirloom.launcher.work import WorkFolder

REPRODUCIBLE = {
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what cuBLAS needs to repeat its results, see torch's notes on randomness
}
QUIET = {
    "PYTHONUNBUFFERED": "1",  # a killed program's last lines are in the log
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
RANKS = {
    "HF_HUB_OFFLINE": "1",  # all inputs of a rank stage are artifacts on disk
    "TOKENIZERS_PARALLELISM": "false",
}
CPU_RANKS = {
    "OMP_NUM_THREADS": "1",  # the order of a sum depends on the threads that share it
    "MKL_NUM_THREADS": "1",
    "DS_ACCELERATOR": "cpu",
}
GPU_RANKS = {
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",  # without it, cards of 24 and 40 GB are lost to fragments
}
ONE_MACHINE = {
    # no need of a network, nor of a host name that resolves; and no other machine reaches the ranks
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "=lo",
}
DEVICE = "HEIRLOOM_DEVICE"
"""Tells a rank what it was promised: "gpu" or "cpu" (heirloom.distributed)."""
COMPILED = Path(".heirloom/cache/inductor")
"""What torch compiles, and loads again. Its own choice is a folder in /tmp that whoever comes first can make."""
FIXED = (*REPRODUCIBLE, "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""These decide the bytes of a result on CPUs, so the user's environment does not override them; all others it does."""


def for_program(
    kind: str,
    ranks: Ranks,
    work: WorkFolder,
    identity: str | None,
    commit: str | None,
    *,
    portable: bool = False,
) -> dict[str, str]:
    """Return the variables to add for a program of `kind` ("python" or "torchrun").

    `portable`: it is to give the same bytes on every x86-64 processor with AVX2.
    """
    variables = {**REPRODUCIBLE, **QUIET}
    grace = math.ceil(grace_seconds())
    if kind == "torchrun":
        variables |= RANKS
        variables["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(grace)  # else torchrun kills its ranks after 30 seconds
        variables |= CPU_RANKS if ranks.device == "cpu" else gpu_ranks(ranks)
        if ranks.nodes == 1:
            variables |= ONE_MACHINE
    variables["TORCHINDUCTOR_CACHE_DIR"] = str(COMPILED.absolute())
    fixed = FIXED if ranks.device == "cpu" else REPRODUCIBLE
    kept = {name: value for name, value in variables.items() if name in fixed or name not in os.environ}
    if portable:
        kept |= PORTABLE  # whatever the user's environment asks for
    kept[DEVICE] = ranks.device
    if ranks.device == "gpu":
        kept |= library_path() | efa_variables()
    kept["HEIRLOOM_WORK_DIR"] = str(work.path)
    if work.scratch:
        kept["HEIRLOOM_SCRATCH_DIR"] = str(work.scratch)
    if identity:
        kept["HEIRLOOM_IDENTITY"] = identity
    if commit:
        kept[COMMIT] = commit  # for trackers; artifacts hold none
    return kept


def gpu_ranks(ranks: Ranks) -> dict[str, str]:
    """Return the variables of ranks on GPUs, each of which has its share of the machine's cores.

    torchrun would give each one thread, with which a step of an offloaded optimizer takes seconds for each 10^9
    parameters. No bytes are promised there, so the number may be the machine's. Where other stages have other GPUs of
    it, the cores are shared out as the GPUs are.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // max(ranks.per_node, ranks.gpus))
    ours = GPU_RANKS | {"OMP_NUM_THREADS": str(threads)}
    if "PYTORCH_CUDA_ALLOC_CONF" in os.environ:  # the user's own choice, by the variable's former name
        del ours["PYTORCH_ALLOC_CONF"]
    return ours
