"""What the Dockerfile's scripts refuse, and the compiler wrapper; CUDA's compiler is the machine's, else a stand-in."""

import hashlib
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


def test_vllm_is_installed_only_where_it_is_asked_for(heirloom: Path) -> None:
    done = run(heirloom, "install_vllm.sh", VLLM="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run(heirloom, "install_vllm.sh", VLLM="tpu")
    assert (done.returncode, done.stderr) == (1, "VLLM=tpu: expected gpu, cpu or nothing\n")


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
echo "$1" >>"$TOLD"
cp "$SITE/${1##*/}" "$file"
"""
EFA_INSTALLER = """#!/bin/bash
# As AWS's of the version that stands in the file beside it: what it installs is in a package, made by the test.
echo "$@" >"$TOLD.options"
ngc=yes
for option; do
    case $option in
    --yes | --skip-kmod | --skip-limit-conf | --no-verify) ;;
    --disable-ngc) ngc=no; [ -e knows-ngc ] || { echo "Invalid option: $option"; exit 1; } ;;
    *) echo "Invalid option: $option"; exit 1 ;;
    esac
done
mkdir -p /opt/amazon
cp -r DEBS/efa /opt/amazon/
[ -e knows-ngc ] && [ $ngc = yes ] || cp -r DEBS/ofi-nccl /opt/amazon/
"""
IN_A_BASE = """
for own in /opt /var/cache /var/lib/apt; do [ ! -d $own ] || mount -t tmpfs tmpfs $own || exit; done
mount --bind "$BASE/etc" /etc && mount --bind "$BASE/local" /usr/local || exit
"$SCRIPT" || exit
ls -l /usr/local/cuda-13.0/lib64
cat /etc/ld.so.conf.d/efa.conf
exec /usr/bin/python3 -c 'import ctypes, sys; [print("loaded", ctypes.CDLL(name)._name) for name in sys.argv[1:]]' \\
    libcudart.so "$PLUGIN"
"""
VERSION = "1.49.0"
ARCHIVE = f"aws-efa-installer-{VERSION}.tar.gz"
SANDBOX = ("unshare", "--user", "--map-root-user", "--mount")


class Base:
    """A base image for `install_efa.sh`: what that changes is its own. And an archive in the layout of AWS's."""

    def __init__(self, heirloom: Path, plugin: str = "libnccl-net-ofi.so", cuda: bool = True, version: str = VERSION):
        self.heirloom, self.plugin, self.version, self.folder = heirloom, plugin, version, heirloom / "base"
        self.told = heirloom / "told"
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore_dangling_symlinks=True, ignore=unreadable)
        (self.folder / "local/cuda-13.0/lib64").mkdir(parents=True)
        if cuda:
            library(self.folder / "local/cuda-13.0/lib64/libcudart.so.13.0.96", "libcudart.so.13")
            (self.folder / "local/cuda-13.0/lib64/libcudart.so.13").symlink_to("libcudart.so.13.0.96")
        packed, self.site = heirloom / "aws-efa-installer", heirloom / "site"
        for part in ("DEBS/efa/lib", "DEBS/ofi-nccl/lib"):
            (packed / part).mkdir(parents=True)
        library(packed / "DEBS/efa/lib/libfabric.so.1", "libfabric.so.1")
        library(packed / "DEBS/ofi-nccl/lib" / plugin, plugin)
        if version >= "1.48.0":
            (packed / "knows-ngc").touch()
        (packed / "efa_installer.sh").write_text(EFA_INSTALLER)
        (packed / "efa_installer.sh").chmod(0o755)
        self.site.mkdir()
        self.archive = self.site / f"aws-efa-installer-{version}.tar.gz"
        subprocess.run(["tar", "-czf", self.archive, "aws-efa-installer"], cwd=heirloom, check=True)
        self.digest = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        (heirloom / "bin").mkdir()
        for name, text in (("curl", CURL), ("apt-get", "#!/bin/sh\n")):
            (heirloom / "bin" / name).write_text(text)
            (heirloom / "bin" / name).chmod(0o755)

    def install(self, **variables: str) -> subprocess.CompletedProcess:
        """Run the script, then load the plugin by its name as NCCL does."""
        script = self.heirloom / "build/install_efa.sh"
        own = {"BASE": str(self.folder), "SITE": str(self.site), "SCRIPT": str(script), "PLUGIN": self.plugin}
        path = f"{self.heirloom / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*SANDBOX, "bash", "-c", IN_A_BASE],
            env={"PATH": path, "TOLD": str(self.told), "EFA_VERSION": self.version, **own, **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def sign(self) -> str:
        """Sign the archive with a key made for that, put both beside it, and return the key's fingerprint."""
        home = self.heirloom / "gpg"
        home.mkdir(mode=0o700)
        gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-gen-key", "tester@example.org", "ed25519", "sign"], check=True)
        subprocess.run([*gpg, "--output", f"{self.archive}.sig", "--detach-sign", str(self.archive)], check=True)
        key = subprocess.run([*gpg, "--armor", "--export"], capture_output=True, check=True).stdout
        (self.site / "aws-efa-installer.key").write_bytes(key)
        listed = subprocess.run(
            [*gpg, "--with-colons", "--list-keys"], capture_output=True, text=True, check=True
        ).stdout
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
        return re.search(r"^fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)[1]


def unreadable(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not os.access(os.path.join(folder, name), os.R_OK)]


def library(path: Path, soname: str) -> None:
    """Make an empty library that can be loaded."""
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", f"-Wl,-soname,{soname}", "-o", str(path)], check=True)


needs_namespaces = pytest.mark.skipif(
    shutil.which("gcc") is None or subprocess.run([*SANDBOX, "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="needs gcc and namespaces of a user's own",
)


@needs_namespaces
@pytest.mark.parametrize(
    ("version", "plugin", "options"),
    [
        ("1.47.0", "libnccl-net.so", "--yes --skip-kmod --skip-limit-conf --no-verify"),
        (VERSION, "libnccl-net-ofi.so", "--yes --skip-kmod --skip-limit-conf --no-verify --disable-ngc"),
    ],
)
def test_efa_is_where_nccl_looks_for_it(heirloom: Path, version: str, plugin: str, options: str) -> None:
    """NCCL loads the plugin by its name, and the plugin libcudart.so, which the base has under another name alone."""
    listed = sorted(Path("/var/lib/apt/lists").glob("*"))
    base = Base(heirloom, plugin, version=version)
    done = base.install(EFA_SHA256=base.digest)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == ["loaded libcudart.so", f"loaded {plugin}"]
    assert "/opt/amazon/efa/lib\n/opt/amazon/ofi-nccl/lib\n" in done.stdout
    assert listed == sorted(Path("/var/lib/apt/lists").glob("*")), "this machine's own lists are gone"
    assert Path(f"{base.told}.options").read_text().strip() == options


@needs_namespaces
@pytest.mark.parametrize("digest", ["abc", "A" * 64, "a" * 64])
def test_an_installer_of_another_hash_is_not_unpacked(heirloom: Path, digest: str) -> None:
    """The attack: whatever came from the address went into tar, and its script ran as root."""
    base = Base(heirloom)
    done = base.install(EFA_SHA256=digest)
    assert done.returncode == 1 and not Path(f"{base.told}.options").exists()
    if digest == "a" * 64:
        address = f"https://efa-installer.amazonaws.com/{ARCHIVE}"
        assert base.told.read_text().strip() == address
        assert f"{address} is not what EFA_SHA256 says: its hash is {base.digest}" in done.stderr
    else:
        assert not base.told.exists() and f"EFA_SHA256={digest} is no SHA-256" in done.stderr


@needs_namespaces
@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")
def test_without_a_hash_the_installer_must_be_signed_by_aws(heirloom: Path) -> None:
    base = Base(heirloom)
    own = base.sign()
    done = base.install()
    assert done.returncode == 1 and not Path(f"{base.told}.options").exists()
    assert (
        f"{ARCHIVE} is not signed with AWS's key 4E9091BCBB97A96B26B15E59A05480B1DD2D3CCC: do not run it" in done.stderr
    )
    script = heirloom / "build/install_efa.sh"
    script.write_text(script.read_text().replace("KEY=4E9091BCBB97A96B26B15E59A05480B1DD2D3CCC", f"KEY={own}"))
    done = base.install()  # now that this key is the one that AWS documents
    assert done.returncode == 0 and "loaded libnccl-net-ofi.so" in done.stdout, done.stdout + done.stderr
    base.archive.write_bytes(base.archive.read_bytes() + b"more")
    assert "is not signed with AWS's key" in base.install().stderr


@needs_namespaces
def test_a_base_without_cuda_needs_no_efa(heirloom: Path) -> None:
    base = Base(heirloom, cuda=False)
    assert "no CUDA runtime in the base image: no EFA\n" in base.install().stdout
    assert not base.told.exists()


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


def test_what_deepspeed_needs_once_it_is_built_for_cuda_is_locked(heirloom: Path) -> None:
    """Its setup.py adds it then alone, and `pip check`, which ends the image's installation, asks for it."""
    assert re.fullmatch(r"[\d.]+\n", run(heirloom, "locked_version.sh", "nvidia-ml-py").stdout)
    assert re.search(r"^nvidia-ml-py==", (REPOSITORY / "envs/hashes/locked.txt").read_text(), re.MULTILINE)


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
