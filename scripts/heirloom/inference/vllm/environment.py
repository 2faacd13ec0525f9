"""The environment of its own that `engine: vllm` runs in: where it is, and what its process gets of this one's.

It lies beside the environment of the stages, `.venv-vllm` beside `.venv`: vLLM wants other versions of torch's
libraries than training is pinned to. No library is imported here, since plans ask for it too.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from heirloom.errors import HeirloomError

VARIABLE = "HEIRLOOM_VLLM"
"""Names the environment's folder where it lies elsewhere."""
OF_RANKS = re.compile(r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE|NAME)|MASTER_(ADDR|PORT)|TORCHELASTIC_\w+|PYTHONPATH")
"""What torchrun tells a rank. vLLM would take it for its own group."""
ALWAYS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",  # it reports to its makers otherwise
    "VLLM_PLUGINS": "",  # no code of other packages that happen to be there
    # in this process: its schedule then follows from the requests alone, and an error is told where it happens
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
ON_CPU = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # it would bind the threads of all ranks to the same cores
    "OMP_NUM_THREADS": "1",  # as other engines compute, unless the launcher or the user says otherwise
    "TORCHDYNAMO_DISABLE": "1",  # it would compile what ranks a token, with a compiler of C++ that need not be here
}


def vllm_environment() -> Path:
    """Return the folder of the environment. Raises HeirloomError when it is not installed."""
    given = os.environ.get(VARIABLE)
    prefix = Path(sys.prefix)
    folder = Path(given) if given else prefix.with_name(f"{prefix.name}-vllm")
    if not (folder / "ready").is_file():
        raise HeirloomError(
            f"generation.engine: vllm runs in an environment of its own, and {folder} is not installed: "
            f"`make setup-vllm`, or name another one's folder in {VARIABLE}"
        )
    return folder


def vllm_variables(
    mine: Mapping[str, str], gpus: Sequence[str], cache: int, *, batch_invariant: bool
) -> dict[str, str]:
    """Return all environment variables of a process of vLLM.

    `mine`: those of this process; `gpus`: the devices that it may see, none on a CPU, where its cache of keys and
    values gets `cache` GiB unless the user says otherwise; `batch_invariant`: the same bytes whatever the batch.
    """
    kept = {name: value for name, value in mine.items() if not OF_RANKS.fullmatch(name)}
    if gpus:
        chosen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} | ({"VLLM_BATCH_INVARIANT": "1"} if batch_invariant else {})
        return kept | ALWAYS | chosen
    return ON_CPU | {"VLLM_CPU_KVCACHE_SPACE": str(cache)} | kept | ALWAYS
