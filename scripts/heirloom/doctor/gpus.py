"""The GPUs: which, how much of their memory is free, and whether this torch can compute on them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from heirloom.doctor.finding import Finding, error, note, ok, warning
from heirloom.launcher.gpus import library_path, promised_gpus

QUERY = ("name", "memory.total", "memory.used", "driver_version", "compute_cap")
BUSY_SHARE = 0.05
TORCH_SECONDS = 120


@dataclass(frozen=True)
class Gpu:
    """One line of nvidia-smi; memory in MiB."""

    name: str
    memory: int
    used: int
    driver: str
    capability: str


def parse_listing(listing: str) -> list[Gpu]:
    """Return the GPUs of `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`."""
    rows = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines() if line.count(",") == 4]
    return [Gpu(name, int(memory), int(used), driver, capability) for name, memory, used, driver, capability in rows]


def check_gpus() -> list[Finding]:
    """Find the GPUs, and what stands between them and a training. torch is started only where there are some."""
    if shutil.which("nvidia-smi") is None:
        if promise := promised_gpus():
            return [
                error(
                    "GPUs",
                    f"{promise}, but there is no nvidia-smi",
                    "no training starts: the launcher counts GPUs with it",
                    "put nvidia-smi on PATH; in a container ask for the driver's `utility` capability",
                )
            ]
        return [
            note(
                "GPUs",
                "none (no nvidia-smi)",
                "stages run on two CPU ranks: right for the demo, hopeless for a real model",
                "in a container give it the GPUs: docker run --gpus all, podman run --device nvidia.com/gpu=all, "
                "apptainer exec --nv",
            )
        ]
    done = subprocess.run(
        ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    gpus = parse_listing(done.stdout)
    if done.returncode or not gpus:
        said = (done.stderr or done.stdout).strip().splitlines()
        return [
            error(
                "GPUs",
                f"nvidia-smi ended with {done.returncode}{': ' + said[0] if said else ''}",
                "the driver does not answer, so CUDA will not either",
                "load or renew the NVIDIA driver of the host; a container uses the host's",
            )
        ]
    return [*describe(gpus), *check_torch(gpus)]


def describe(gpus: list[Gpu]) -> list[Finding]:
    """Return what the GPUs are, and which are in use by somebody else."""
    kinds = sorted({gpu.name for gpu in gpus})
    found = f"{len(gpus)} × {' and '.join(kinds)}, {gpus[0].memory / 1024:.0f} GiB each, driver {gpus[0].driver}"
    findings = [ok("GPUs", found)]
    if len(kinds) > 1:
        findings[0] = warning(
            "GPUs", found, "ranks wait for the slowest GPU", "choose equal ones with CUDA_VISIBLE_DEVICES"
        )
    busy = [f"{number}: {gpu.used} MiB" for number, gpu in enumerate(gpus) if gpu.used > BUSY_SHARE * gpu.memory]
    if busy:
        findings.append(
            warning(
                "GPU memory",
                f"in use already ({', '.join(busy)})",
                "a training that fits an empty GPU may run out of memory",
                "see with nvidia-smi who holds it, end that, or choose others with CUDA_VISIBLE_DEVICES",
            )
        )
    return findings


def check_torch(gpus: list[Gpu]) -> list[Finding]:
    """Find a torch that cannot use these GPUs, and return its CUDA and NCCL."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return []
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("torch_facts.py"))],
            capture_output=True, text=True, check=False, timeout=TORCH_SECONDS,
            env={**os.environ, **library_path()},  # as the launcher starts ranks
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [
            error(
                "torch",
                f"{installed} did not start CUDA within {TORCH_SECONDS} s",
                "a training would hang",
                "look for a stuck process in nvidia-smi and for Xid errors in the host's dmesg",
            )
        ]
    if done.returncode:
        return [
            error(
                "torch",
                f"{installed} cannot be imported: {(done.stderr.strip().splitlines() or ['no message'])[-1]}",
                "no training can start",
                "install the locked packages again",
            )
        ]
    return judge_torch(installed, gpus, json.loads(done.stdout))


def judge_torch(installed: str, gpus: list[Gpu], facts: dict) -> list[Finding]:
    """Return findings from what `torch_facts.py` printed in the presence of `gpus`."""
    if facts["cuda"] is None:
        return [
            error(
                "torch",
                f"{installed} is a build without CUDA",
                "no training starts: ranks would compute on the CPU",
                "install the CUDA build: pip install --force-reinstall torch from an index that has it",
            )
        ]
    if not facts["available"]:
        return [
            error(
                "torch",
                f"{installed} with CUDA {facts['cuda']} finds no GPU that it can use",
                f"{facts['reason'] or 'torch gives no reason'} (driver {gpus[0].driver}); no training starts",
                "renew the host's driver, or take a torch of an older CUDA (TORCH_VARIANT in docs/image.md)",
            )
        ]
    findings = [ok("torch", f"{installed}, CUDA {facts['cuda']}"), ok("NCCL", facts["nccl"] or "not in this torch")]
    unknown = sorted({gpu.capability for gpu in gpus if not runs_on(gpu.capability, facts["architectures"])})
    if unknown:
        findings[0] = error(
            "torch",
            f"{installed} has no code for compute capability {', '.join(unknown)} (it has "
            f"{', '.join(facts['architectures'])})",
            "every operation will fail with `no kernel image is available`",
            "take a build that has it; for Volta (7.0) see TORCH_VARIANT and TORCH_BUILD in docs/image.md",
        )
    return findings


def runs_on(capability: str, architectures: list[str]) -> bool:
    """Tell whether code for `architectures` (sm_80, compute_90) runs on a GPU of a compute capability (8.6).

    Binary code runs on the same major version from its own minor one upwards, PTX on everything newer: NVIDIA's CUDA
    programming guide, "Application compatibility".
    """
    major, minor = map(int, capability.split("."))
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        digits = digits.rstrip("af")
        own = int(digits[:-1]), int(digits[-1])
        if (kind == "sm" and own[0] == major and own[1] <= minor) or (kind == "compute" and own <= (major, minor)):
            return True
    return False
