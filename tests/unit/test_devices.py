"""GPUs of a machine that stages share, on stand-ins: no GPU is given twice, and a killed stage's comes back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from heirloom.launcher.environment import gpu_ranks
from heirloom.launcher.hosts import devices
from heirloom.launcher.hosts.detection import LocalHost
from heirloom.launcher.hosts.devices import Device, claimed, devices_here, wanted

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FOUR = "".join(f"GPU {n}: NVIDIA H100 (UUID: GPU-{n}{n})\n" for n in range(4))
DIVIDED = FOUR.splitlines()[0] + "\n  MIG 1g.10gb Device 0: (UUID: MIG-a)\n  MIG 1g.10gb Device 1: (UUID: MIG-b)\n"
HOLDER = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(SCRIPTS)!r})
from heirloom.launcher.hosts import devices
devices.WAIT = 0.05
every = [devices.Device(name, name) for name in sys.argv[3].split(",")]
with devices.claimed(int(sys.argv[2]), every, Path(sys.argv[1])) as given:
    files = [Path(sys.argv[1], f"{{device.name}}.held") for device in given]
    for file in files:
        file.touch(exist_ok=False)  # held by nobody else
    print(",".join(device.name for device in given), flush=True)
    time.sleep(float(sys.argv[4]))
    for file in files:
        file.unlink()
"""


@pytest.fixture
def smi(monkeypatch, tmp_path):
    """Let `nvidia-smi -L` print a text."""

    def prints(text: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", *devices.CLUSTERS):
        monkeypatch.delenv(name, raising=False)
    return prints


@pytest.mark.parametrize(
    ("listing", "chosen", "names"),
    [
        (FOUR, None, ["0", "1", "2", "3"]),
        (FOUR, "3,1", ["3", "1"]),
        (FOUR, "GPU-22", ["GPU-22"]),
        (FOUR, "", []),
        (FOUR, "-1", []),
        (DIVIDED, None, ["MIG-a", "MIG-b"]),
        (DIVIDED, "MIG-b", ["MIG-b"]),
        ("GPU 0: stand-in\n", None, ["0"]),
        ("No devices were found\n", None, []),
    ],
)
def test_devices_have_the_names_that_cuda_reads(smi, monkeypatch, listing, chosen, names):
    smi(listing)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [device.name for device in devices_here()] == names


def test_a_gpu_is_the_same_however_it_is_named(smi, monkeypatch):
    smi(FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-11")
    assert [device.uuid for device in devices_here()] == ["GPU-22", "GPU-11"]


def test_what_a_stage_asks_for():
    four = [Device(f"{n}", f"GPU-{n}") for n in range(4)]
    assert [wanted(asked, four) for asked in (None, 0, 1, 4)] == [4, 0, 1, 4]
    with pytest.raises(HeirloomError, match="gpus_per_node: 5 is more than this machine gives: it has 4 GPUs"):
        wanted(5, four)
    divided = [Device(f"MIG-{n}", f"MIG-{n}", is_instance=True) for n in "ab"]
    assert wanted(None, divided) == 1
    with pytest.raises(HeirloomError, match="2 instances of a divided GPU, of which a stage gets one"):
        wanted(2, divided)


def holder(folder: Path, count: int, seconds: float, names: str = "0,1") -> subprocess.Popen:
    words = [sys.executable, "-c", HOLDER, str(folder), str(count), names, str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_no_device_is_given_twice(tmp_path):
    """Six stages, one of which wants both; each would fail on a device that another one has."""
    started = [holder(tmp_path, 2 if number == 2 else 1, 0.2) for number in range(6)]
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 6, told
    given = [out.split()[-1] for out, _ in told]
    assert given[2] == "0,1" and {*given[:2], *given[3:]} <= {"0", "1"}


def test_a_killed_stages_device_comes_back(tmp_path):
    process = holder(tmp_path, 2, 600)
    assert process.stdout.readline() == "0,1\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    every = [Device(name, name) for name in "01"]
    with claimed(2, every, tmp_path) as given:
        assert given == every


def test_a_user_without_a_home_locks_in_the_clone(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    with claimed(1, [Device("0", "GPU-0")]):
        assert len(list(tmp_path.glob(".heirloom/heirloom/devices/*/GPU-0.lock"))) == 1


def test_ranks_have_their_gpus_and_their_share_of_the_cores(smi, monkeypatch, tmp_path):
    smi(FOUR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    with LocalHost(gpus=4).shared("torchrun", 1) as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        assert first.ranks("torchrun").world_size == 1
        assert gpu_ranks(first.ranks("torchrun"))["OMP_NUM_THREADS"] == "4"
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with LocalHost(gpus=4).shared("torchrun", 2) as second:
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"
            assert gpu_ranks(second.ranks("torchrun"))["OMP_NUM_THREADS"] == "4"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with LocalHost(gpus=4).shared("torchrun", None) as whole:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
        assert gpu_ranks(whole.ranks("torchrun"))["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with LocalHost(gpus=4).shared("torchrun", 1) as of_cluster:
        assert of_cluster == LocalHost(gpus=4)
