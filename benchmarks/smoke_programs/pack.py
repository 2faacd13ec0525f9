"""Gather as wheels what a bare GPU machine lacks: `python benchmarks/smoke_programs/pack.py FOLDER`.

For a machine with Python 3.12, torch for CUDA 13, accelerate, what transformers needs, and no network
(gpu_smoke.py --wheels). Versions are the project's pins. bitsandbytes keeps its libraries for CUDA 13.0 and for the CPU
alone; DeepSpeed comes without compiled operators. Tells the size, with that of the tree as git would carry it: what
travels together may have 64 MiB.
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON, PLATFORMS = "3.12", ("manylinux_2_28_x86_64", "manylinux_2_24_x86_64", "manylinux2014_x86_64")
PINNED = (
    *("transformers", "trl", "peft", "bitsandbytes", "datasets", "dill", "multiprocess"),
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "ruamel-yaml", "ruamel-yaml-clib", "hjson"),
)
OTHERS = ("liger-kernel",)
"""Not among the project's pins, as it runs on GPUs alone: the newest."""
BUILT = ("deepspeed",)
"""Published as source; a wheel is made of it here."""
KEPT = re.compile(r"libbitsandbytes_(cuda130|cpu)\.so$")
MOST_MIB = 64
MIB = 2**20


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "envs" / "training.txt").read_text(), re.MULTILINE))
    pip = [sys.executable, "-m", "pip"]
    wanted = [f"{name}=={pins[name]}" for name in PINNED] + list(OTHERS)
    places = [word for platform in PLATFORMS for word in ("--platform", platform)]
    kind = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *places]
    subprocess.run([*pip, "download", "--quiet", "--no-deps", *kind, "--dest", str(folder), *wanted], check=True)
    made = [f"{name}=={pins[name]}" for name in BUILT]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), *made]
    subprocess.run(build, env={**os.environ, "DS_BUILD_OPS": "0"}, check=True)
    for wheel in folder.glob("bitsandbytes-*.whl"):
        strip(wheel)
    tell(folder)


def strip(wheel: Path) -> None:
    """Take the libraries for other versions of CUDA out of a wheel of bitsandbytes, and out of its list of files."""
    lighter = wheel.with_suffix(".partial")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(lighter, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as kept:
        gone = [name for name in whole.namelist() if name.endswith(".so") and not KEPT.search(name)]
        for name in whole.namelist():
            if name in gone:
                continue
            content = whole.read(name)
            if name.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(line for line in lines if line.partition(",")[0] not in gone).encode()
            kept.writestr(whole.getinfo(name), content)
    lighter.replace(wheel)


def tell(folder: Path) -> None:
    """Print the size of each wheel, of all, and of the tree; end with 1 when that is more than may travel."""
    wheels = sorted(folder.glob("*.whl"), key=lambda file: -file.stat().st_size)
    for file in wheels:
        print(f"{file.stat().st_size / MIB:7.2f} MiB  {file.name}")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    files = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    tree = sum(file.stat().st_size for file in files if file.is_file())
    packed = sum(file.stat().st_size for file in wheels)
    print(f"{packed / MIB:7.2f} MiB  {len(wheels)} wheels")
    print(f"{tree / MIB:7.2f} MiB  the tree, {(packed + tree) / MIB:.2f} of {MOST_MIB} MiB together")
    sys.exit(packed + tree > MOST_MIB * MIB)


if __name__ == "__main__":
    main()
