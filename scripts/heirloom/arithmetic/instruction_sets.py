"""The instruction sets that this process computes with: read for the record, and held to what a run promises."""

import ctypes
import json
import os
from pathlib import Path

import torch

from heirloom.arithmetic.processor import PINS, PORTABLE, RECORDED, facts_of_processor, widest
from heirloom.distributed import is_main_rank, on_cpu
from heirloom.errors import HeirloomError

BRANCHES = {
    2: "AUTO",
    3: "COMPATIBLE",
    4: "SSE2",
    6: "SSSE3",
    7: "SSE4_1",
    8: "SSE4_2",
    9: "AVX",
    10: "AVX2",
    12: "AVX512",
    14: "AVX512_E1",
}
"""oneMKL's numbers of its ways to compute. Source: MKL_CBWR_* in mkl_types.h."""
NOT_ASKED = 1
"""MKL_CBWR_BRANCH_OFF: nobody asked for one of them."""


def computing_with() -> dict[str, str]:
    """Return what decides the last digits of this process on a CPU, by name; "unknown" for what cannot be read.

    `vendor` of the processor; the set that `aten` uses; the way that `mkl` takes, with "MKL_CBWR=" where it was asked
    for; the widest set that `onednn` is known to have, which does not tell what it takes.
    """
    return {
        "vendor": facts_of_processor()[0] or "unknown",
        "aten": torch.backends.cpu.get_cpu_capability(),
        "mkl": mkl_branch(),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", PINS[widest()]["ONEDNN_MAX_CPU_ISA"]),
    }


def mkl_branch() -> str:
    """Return the way that oneMKL takes on this processor. torch holds the library, which exports no such question."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        mkl = ctypes.CDLL(str(library))
        asked, taken = mkl.mkl_serv_cbwr_get(1), mkl.mkl_serv_cbwr_get_auto_branch()
    except (OSError, AttributeError):  # a torch with another library of linear algebra
        return "unknown"
    if asked == NOT_ASKED:
        return BRANCHES.get(taken, str(taken))
    return f"MKL_CBWR={BRANCHES.get(asked, str(asked))}"


def leave_for_record() -> None:
    """Write what this rank computes with into the work folder, once for all ranks; nothing on a GPU."""
    folder = os.environ.get("HEIRLOOM_WORK_DIR")
    if folder and on_cpu() and is_main_rank():
        Path(folder).mkdir(parents=True, exist_ok=True)  # a trainer may be the first to need it
        Path(folder, RECORDED).write_text(json.dumps(computing_with()), encoding="utf-8")


def check_portable() -> None:
    """Raise HeirloomError where a run that says `portable: true` would not compute with what that promises."""
    if not on_cpu():
        raise HeirloomError(
            "portable: true promises the same bytes on CPUs, and these ranks are on GPUs: set CUDA_VISIBLE_DEVICES= "
            "(empty) to train on the CPU, or delete the key; deterministic: true is what there is for GPUs"
        )
    missing = [f"{name}={value}" for name, value in PORTABLE.items() if os.environ.get(name) != value]
    if missing:
        raise HeirloomError(
            f"portable: true needs {' '.join(missing)} in the environment before Python starts: start the script by "
            "`python scripts/launch.py torchrun SCRIPT --portable true …`, which sets them, or set them yourself"
        )
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        raise HeirloomError(
            "portable: true needs a processor with AVX2 and FMA, and this one computes with "
            f"{torch.backends.cpu.get_cpu_capability()}: use another machine, or delete the key"
        )
