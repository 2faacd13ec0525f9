"""The GPUs of this machine as its driver tells them, without torch: how many, and whether there ought to be some."""

import os
import re
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

DEVICES = "/dev/nvidia[0-9]*"
"""One file a GPU that the driver knows; a container or a job of Slurm can open those that it was given."""
DRIVER = Path("/proc/driver/nvidia/version")
COMPATIBLE = Path("/usr/local/cuda/compat/libcuda.so.1")
"""CUDA's forward compatibility package, which NVIDIA's images bring: a newer libcuda for a host's older driver."""
EFA_PLUGINS = {"libnccl-net.so": None, "libnccl-net-ofi.so": "ofi", "libnccl-net-aws-ofi.so": "aws-ofi"}
"""Names of the file of NCCL's plugin for the Elastic Fabric Adapter, and by which NCCL_NET_PLUGIN NCCL looks for it."""
EFA_FOLDERS = ("/opt/amazon", "/opt/aws-ofi-nccl")
"""Where AWS's installer puts it."""
LOADING = "import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]"
SLURMS = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_ON_NODE")
WITH_GPUS = re.compile(r"ml\.[pg]\d")
"""SageMaker's machines with NVIDIA GPUs: ml.p4d.24xlarge, ml.g5.12xlarge, ml.g6e.xlarge …"""


def visible_gpus() -> int:
    """Return how many NVIDIA GPUs a program started here may use; CUDA_VISIBLE_DEVICES counts as CUDA reads it."""
    present = sum(line.startswith("GPU ") for line in listed_by_the_driver())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def listed_by_the_driver() -> list[str]:
    """Return the lines of `nvidia-smi -L`: one a GPU, below it one an instance (MIG); none without the program."""
    if not shutil.which("nvidia-smi"):
        return []
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()


def promised_gpus() -> str | None:
    """Return what says that this machine has a GPU for this process, None where nothing does.

    To be asked where `visible_gpus` finds none: an 8-billion model on two CPU ranks, paid for as a GPU machine, must
    not begin. An empty CUDA_VISIBLE_DEVICES asks for the CPU, and promises nothing.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    machine = os.environ.get("SM_CURRENT_INSTANCE_TYPE", "")
    if WITH_GPUS.match(machine):
        return f"SageMaker says that this is an {machine}"
    for name in SLURMS:
        if os.environ.get(name, "0") not in ("", "0"):
            return f"Slurm has given this job GPUs ({name}={os.environ[name]})"
    opened = next(filter(can_be_opened, sorted(glob(DEVICES))), None)
    return f"{opened} is there" if opened else None


def can_be_opened(device: str) -> bool:
    """Say whether this process was given a device: Slurm and containers show others too, and refuse to open them."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def compatibility_libraries() -> Path | None:
    """Return the folder with a libcuda that is newer than the host's driver; None where the driver's own will do.

    With it a torch of CUDA 13 runs on the older drivers that a part of SageMaker's machines has. Source: NVIDIA's
    "CUDA Compatibility", forward compatibility; it is for data-centre GPUs, and for a driver that is older alone.
    """
    if not COMPATIBLE.exists() or not DRIVER.is_file():
        return None
    newer = numbers(COMPATIBLE.resolve().name.removeprefix("libcuda.so."))
    found = re.search(r"Kernel Module .*?(\d+(?:\.\d+)+)", DRIVER.read_text(encoding="utf-8", errors="replace"))
    return COMPATIBLE.parent if found and newer > numbers(found[1]) else None


def library_path() -> dict[str, str]:
    """Return LD_LIBRARY_PATH with these libraries before the user's own; nothing where the driver's own will do."""
    newer = compatibility_libraries()
    own = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, (str(newer), own)))} if newer else {}


def efa_plugin() -> Path | None:
    """Return NCCL's plugin for the Elastic Fabric Adapter; without one NCCL takes TCP and says nothing.

    That of the name that NCCL looks for by itself comes first.
    """
    folders = [Path(folder) for folder in EFA_FOLDERS if Path(folder).is_dir()]
    found = (next(folder.rglob(name), None) for name in EFA_PLUGINS for folder in folders)
    return next(filter(None, found), None)


def plugin_problem(plugin: Path) -> str | None:
    """Return why the loader does not load the plugin, by the name that NCCL asks for, in its words; None when it does.

    The plugin opens libcudart.so by itself, which many images have as libcudart.so.13 alone (aws-ofi-nccl, issue 244).
    """
    done = subprocess.run(
        [sys.executable, "-c", LOADING, "libcudart.so", plugin.name],
        env={**os.environ, **library_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else None


def efa_variables() -> dict[str, str]:
    """Return what tells NCCL the plugin's name, in a job that asks for EFA, where it has another than NCCL expects."""
    plugin = efa_plugin() if os.environ.get("FI_PROVIDER") == "efa" else None
    name = plugin and EFA_PLUGINS[plugin.name]
    return {"NCCL_NET_PLUGIN": name} if name and "NCCL_NET_PLUGIN" not in os.environ else {}


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a driver's version: 535.274.02 → (535, 274, 2)."""
    return tuple(map(int, re.findall(r"\d+", version)))
