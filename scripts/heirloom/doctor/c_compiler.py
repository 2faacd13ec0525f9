"""The C compiler and Python's headers, without which Triton's kernels end a training on GPUs at its first step."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from heirloom.doctor.finding import Finding, error, ok

PROGRAM = "#include <Python.h>\nint main(void) { return 0; }\n"
SECONDS = 60


def compiler() -> str | None:
    """Return the compiler that Triton takes: triton/runtime/build.py, `_build`."""
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")


def check_compiler() -> list[Finding]:
    """Compile a line of C against Python's headers, as Triton does for its launchers. To be asked where GPUs are."""
    found = compiler()
    if found is None:
        return [trouble("there is none: no gcc, no clang, and CC is not set")]
    headers = sysconfig.get_paths(scheme="posix_prefix")["include"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROGRAM, encoding="utf-8")
        command = [found, "-shared", "-fPIC", f"-I{headers}", str(source), "-o", str(source.with_suffix(".so"))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as failure:
            return [trouble(f"{found}: {failure}")]
    if done.returncode == 0:
        return [ok("C compiler", f"{found}, with Python's headers")]
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return [trouble(f"{found}: {(lines or ['it says nothing'])[0].replace(f'{folder}/', '')}")]


def trouble(found: str) -> Finding:
    return error(
        "C compiler",
        found,
        "SFT and DPO on a GPU end at their first step: TRL's loss is a Triton kernel, which is compiled then",
        "install gcc and Python's headers (Debian: gcc python3-dev), or run stages in the image, which has both",
    )
