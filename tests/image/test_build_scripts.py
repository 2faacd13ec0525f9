"""What the Dockerfile's scripts refuse, and the compiler wrapper; CUDA's compiler is the machine's, else a stand-in."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from heirloom.code_closure import code_closure

REPOSITORY = Path(__file__).resolve().parents[2]
NVCC = """#!/bin/sh
case $1 in
--list-gpu-arch) printf 'compute_75\\ncompute_80\\ncompute_86\\ncompute_89\\ncompute_90\\n' ;;
--version) echo 'Cuda compilation tools, release 13.0, V13.0.88' ;;
esac
"""


@pytest.fixture
def heirloom(tmp_path: Path) -> Path:
    """The scripts and the lock as they lie in the image."""
    shutil.copytree(REPOSITORY / "docker/build", tmp_path / "build")
    (tmp_path / "envs").mkdir()
    shutil.copy(REPOSITORY / "envs/training.txt", tmp_path / "envs")
    return tmp_path


def run(heirloom: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run one of the scripts, with nvcc on the path only after `install_nvcc`."""
    path = f"{heirloom / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return subprocess.run(
        [str(heirloom / "build" / script), *arguments], env={"PATH": path, **variables}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def install_nvcc(heirloom: Path) -> None:
    """Put a CUDA 13 compiler on the path of the scripts."""
    (heirloom / "bin").mkdir()
    real = shutil.which("nvcc")
    of_cuda_13 = real and "release 13." in subprocess.run([real, "--version"], capture_output=True, text=True).stdout
    (heirloom / "bin/nvcc").write_text(f'#!/bin/sh\nexec {real} "$@"\n' if of_cuda_13 else NVCC)
    (heirloom / "bin/nvcc").chmod(0o755)


def test_torch_comes_from_a_wheel_unless_source_is_asked_for(heirloom: Path) -> None:
    assert run(heirloom, "compile_torch.sh", TORCH_BUILD="wheel").returncode == 0
    done = run(heirloom, "compile_torch.sh", TORCH_BUILD="sauce")
    assert (done.returncode, done.stderr) == (1, "TORCH_BUILD=sauce: expected wheel or source\n")


def test_compiling_torch_without_nvcc_stops_at_once(heirloom: Path) -> None:
    done = run(heirloom, "compile_torch.sh", TORCH_BUILD="source", TORCH_CUDA_ARCH_LIST="9.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "TORCH_BUILD=source: BUILD_IMAGE has no nvcc: give a -devel image of nvidia/cuda\n"


def test_compiling_for_volta_with_cuda_13_stops_at_once(heirloom: Path) -> None:
    install_nvcc(heirloom)
    done = run(heirloom, "compile_torch.sh", TORCH_BUILD="source", TORCH_CUDA_ARCH_LIST="7.0 7.5 8.0 8.6 8.9 9.0")
    assert done.returncode == 1
    assert re.search(r"nvcc of CUDA 13\.\d+ does not know 7\.0 \(it knows compute_75 compute_80 ", done.stderr)
    assert "Volta (7.0) needs CUDA 12.6: see docs/image.md" in done.stderr
    known = run(heirloom, "check_cuda_architectures.sh", TORCH_CUDA_ARCH_LIST="7.5 8.0 9.0+PTX")
    assert (known.returncode, known.stderr) == (0, "")


def test_deepspeed_without_nvcc_is_left_to_pip(heirloom: Path) -> None:
    done = run(heirloom, "compile_deepspeed.sh")
    assert (done.returncode, done.stdout) == (0, "no nvcc: DeepSpeed without ops\n")


def test_versions_come_from_the_lock(heirloom: Path) -> None:
    lock = (heirloom / "envs/training.txt").read_text()
    assert f"torch=={run(heirloom, 'locked_version.sh', 'torch').stdout}" in lock
    done = run(heirloom, "locked_version.sh", "tourch")
    assert done.returncode == 1 and "no version of tourch" in done.stderr


CURL = """#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = --output ] && file=$2; shift; done
echo "$1" >"$TOLD"
printf 'not an installer' >"$file"
"""
OF_IT = "a" * 64


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, OF_IT])
def test_an_installer_that_nobody_has_vouched_for_is_not_unpacked(heirloom: Path, digest: str) -> None:
    """The attack: whatever came from the address went into tar, and its script ran as root."""
    (heirloom / "bin").mkdir()
    (heirloom / "bin/curl").write_text(CURL)
    (heirloom / "bin/curl").chmod(0o755)
    told = heirloom / "told"
    done = run(heirloom, "install_efa.sh", EFA_VERSION="1.50.0", EFA_SHA256=digest, TOLD=str(told))
    assert done.returncode == 1 and "tar" not in done.stderr.replace("tar.gz", "")
    if digest == OF_IT:
        address = "https://efa-installer.amazonaws.com/aws-efa-installer-1.50.0.tar.gz"
        assert told.read_text().strip() == address
        assert f"{address} is not what EFA_SHA256 says: its hash is " in done.stderr
    else:
        assert not told.exists() and "EFA_VERSION=1.50.0 needs EFA_SHA256" in done.stderr


def test_without_a_version_no_efa_is_installed(heirloom: Path) -> None:
    done = run(heirloom, "install_efa.sh", EFA_VERSION="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(
    shutil.which("g++") is None or platform.machine() != "x86_64", reason="needs g++ on an x86-64 processor"
)
def test_ops_are_compiled_for_other_processors_too(heirloom: Path) -> None:
    flags = ("-march=native", "-D__AVX512__", "-x", "c++", "-E", "-dM", "/dev/null")
    macros = {line.split()[1] for line in run(heirloom, "portable_cxx.sh", *flags).stdout.splitlines()}
    assert {"__AVX2__", "__FMA__", "__AVX256__"} <= macros
    assert not {"__AVX512__", "__AVX512F__"} & macros


def test_what_the_image_starts_finds_all_that_it_imports() -> None:
    """The doctor and the entry point are the only code of the project in the image: their files are copied by name."""
    steps = (REPOSITORY / "docker/Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (scripts/.*) /opt", steps, re.MULTILINE) for word in line.split()]
    sent = re.findall(r"^!(.*)", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    programs = ("scripts/doctor.py", "scripts/heirloom/launcher/reaper.py", "scripts/heirloom/launcher/grace.py")
    files = {path for program in programs for path in code_closure(REPOSITORY / program)}
    for file in sorted(str(path.relative_to(REPOSITORY)) for path in files):
        assert any(file == name or file.startswith(f"{name.rstrip('/')}/") for name in copied), file
        assert any(file == name or file.startswith(f"{name}/") for name in sent), file
