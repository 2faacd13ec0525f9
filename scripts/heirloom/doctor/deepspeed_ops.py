"""DeepSpeed's ops: which were compiled ahead, and whether the others can be compiled at their first use."""

import ast
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from heirloom.doctor.finding import Finding, note, ok, warning

COMPILERS = ("g++", "ninja")
CUDA_COMPILER = "nvcc"


def installed_ops() -> dict[str, bool] | None:
    """Return op → compiled ahead, as DeepSpeed's build noted it; None where DeepSpeed is not installed.

    Read from the note's source: importing DeepSpeed imports torch, which takes seconds.
    """
    try:
        file = Path(str(distribution("deepspeed").locate_file("deepspeed/git_version_info_installed.py")))
    except PackageNotFoundError:
        return None
    if not file.is_file():
        return {}
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "installed_ops":
            return ast.literal_eval(statement.value)
    return {}


def check_deepspeed(gpus: bool) -> list[Finding]:
    """Find ops that a training could want and that can neither be loaded nor compiled here."""
    ops = installed_ops()
    if ops is None:
        return []
    ahead = sorted(op for op, compiled in ops.items() if compiled)
    wanted = (*COMPILERS, CUDA_COMPILER) if gpus else COMPILERS
    missing = [program for program in wanted if shutil.which(program) is None]
    found = f"compiled ahead: {', '.join(ahead) or 'none'}"
    if not missing:
        return [ok("DeepSpeed's ops", f"{found}; the others at their first use")]
    found = f"{found}; no {', '.join(missing)} to compile others"
    if not gpus:
        return [note("DeepSpeed's ops", found, "offloading to the CPU would fail; nothing else needs one on a CPU")]
    if {"fused_adam", "cpu_adam"} <= set(ahead):
        return [note("DeepSpeed's ops", found, "the optimizers are there; other ops (sparse attention, …) would fail")]
    return [
        warning(
            "DeepSpeed's ops",
            found,
            "DeepSpeed's own optimizers (FusedAdam, DeepSpeedCPUAdam for offloading) would fail",
            "use the image, which has them, or install the CUDA toolkit of torch's version",
        )
    ]
