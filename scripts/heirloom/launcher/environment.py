"""The environment variables that a stage's program gets on top of the user's own."""

import math
import os
from pathlib import Path

from heirloom.launcher.commit import VARIABLE as COMMIT
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
ONE_MACHINE = {
    # no need of a network, nor of a host name that resolves; and no other machine reaches the ranks
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "=lo",
}
COMPILED = Path(".heirloom/cache/inductor")
"""What torch compiles, and loads again. Its own choice is a folder in /tmp that whoever comes first can make."""
FIXED = (*REPRODUCIBLE, "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""These decide the bytes of a result, so the user's environment does not override them; all others it does."""


def for_program(kind: str, ranks: Ranks, work: WorkFolder, identity: str | None, commit: str | None) -> dict[str, str]:
    """Return the variables to add for a program of `kind` ("python" or "torchrun")."""
    variables = {**REPRODUCIBLE, **QUIET}
    grace = math.ceil(grace_seconds())
    if kind == "torchrun":
        variables |= RANKS
        variables["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(grace)  # else torchrun kills its ranks after 30 seconds
        if ranks.device == "cpu":
            variables |= CPU_RANKS
        if ranks.nodes == 1:
            variables |= ONE_MACHINE
    variables["TORCHINDUCTOR_CACHE_DIR"] = str(COMPILED.absolute())
    kept = {name: value for name, value in variables.items() if name in FIXED or name not in os.environ}
    kept["HEIRLOOM_WORK_DIR"] = str(work.path)
    if work.scratch:
        kept["HEIRLOOM_SCRATCH_DIR"] = str(work.scratch)
    if identity:
        kept["HEIRLOOM_IDENTITY"] = identity
    if commit:
        kept[COMMIT] = commit  # for trackers; artifacts hold none
    return kept
