"""What DeepSpeed needs to keep parameters or optimizer states outside the GPU, checked before anything is loaded."""

import os
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json


def check_offloading(deepspeed: Path | None) -> None:
    """Raise HeirloomError when the DeepSpeed file offloads to an NVMe drive and this machine lacks what that takes.

    Offloading to memory needs nothing: the files in config/deepspeed/ leave the optimizer to transformers
    (`zero_force_ds_cpu_optimizer: false`), so that DeepSpeed compiles no optimizer of its own.
    """
    for folder in nvme_folders(deepspeed) if deepspeed else ():
        check_nvme(folder, f"{deepspeed}: nvme_path", "use zero3_offload")


def nvme_folders(deepspeed: Path) -> list[Path]:
    """Return the folders on a drive to which a DeepSpeed file offloads."""
    stage = read_json(deepspeed).get("zero_optimization", {})
    parts = [stage.get(name, {}) for name in ("offload_param", "offload_optimizer")]
    return [Path(part.get("nvme_path", "")) for part in parts if part.get("device") == "nvme"]


def check_nvme(folder: Path, place: str, alternative: str) -> None:
    """Raise HeirloomError when `folder`, which `place` of a config names, is no drive that DeepSpeed can use."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise HeirloomError(
            f"{place} {folder} is no folder that can be written to: mount the drive there, or name its folder"
        )
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise HeirloomError(
            f"{place} {folder}: offloading to NVMe needs DeepSpeed's async_io, which is compiled at its first use: "
            f"install libaio (Debian: libaio-dev) and a C++ compiler, or {alternative}"
        )
