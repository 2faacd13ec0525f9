"""The smoke of a GPU where there is none: some cases run with tiny shapes, and nothing is lost, claimed or written."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

from warm_start import warm_stages

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "gpu_smoke.py"
RESULT = ROOT / "benchmarks" / "results" / "gpu_smoke.json"
sys.path += [str(PROGRAM.parent), str(PROGRAM.parent / "smoke_programs")]

import gpu_smoke  # noqa: E402
from gpu_training import Clock, Place  # noqa: E402
from pack import strip  # noqa: E402


def smoke(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [str(warm_stages() / "python"), str(PROGRAM), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_cases_run_on_a_cpu_and_end_in_a_table_that_says_what_is_unseen():
    """The riskiest group of them, which is the first."""
    before, count = RESULT.read_bytes() if RESULT.is_file() else None, len(gpu_smoke.GROUPS[0])
    done = smoke("--only", ",".join(gpu_smoke.GROUPS[0]), "--budget", "3000")
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout[done.stdout.index("case  ") :].splitlines()
    assert [line.split()[:3:2] for line in told[1 : 1 + count]] == [[name, "passed"] for name in gpu_smoke.GROUPS[0]]
    assert "log-probabilities off by" in told[1 + gpu_smoke.GROUPS[0].index("lm-head")]
    assert (
        sum("| unseen" in line for line in told) == len(gpu_smoke.UNSEEN)
        and told[-1] == f"{count} of {count} cases passed"
    )
    assert (RESULT.read_bytes() if RESULT.is_file() else None) == before


def test_every_case_has_a_program(tmp_path):
    found = gpu_smoke.Smoke(Place(tmp_path, gpu={"versions": {}, "memory_gib": 139.0}), Clock(60))
    programs = "".join((PROGRAM.parent / "smoke_programs" / name).read_text() for name in ("checks.py", "stages.py"))
    for name in (name for group in gpu_smoke.GROUPS for name in group):
        assert name in found.cases or f"\ndef {name.replace('-', '_')}(" in programs, name
    assert set(found.cases) <= {name for group in gpu_smoke.GROUPS for name in group}


def test_a_case_that_fails_or_cannot_be_started_stops_no_other(tmp_path):
    found = gpu_smoke.Smoke(Place(tmp_path, gpu={}), Clock(600))
    outcome = found.run("checkpoints")  # none was trained here
    assert outcome["outcome"] == "failed" and "no checkpoint is there" in outcome["last_lines"][-1]
    found.place = SimpleNamespace(gpu={}, run=lambda *_: 1 / 0)
    found.note("device", found.run("device"))
    assert found.outcomes["device"] == {"outcome": "failed", "reason": "ZeroDivisionError: division by zero"}
    assert gpu_smoke.table(found.outcomes).endswith("0 of 1 cases passed")


def test_a_result_says_whether_it_counts_for_the_pins(tmp_path):
    file = tmp_path / "result.json"
    gpu_smoke.write(file, {"gpu": "H200", "versions": {"torch": "2.11.0+cu130", "flash-attn": None}}, {})
    assert '"counts_for": "the code, not the pins"' in file.read_text() and "2.11.0+cu130, pinned" in file.read_text()
    pins = gpu_smoke.pinned()
    gpu_smoke.write(file, {"gpu": "H200", "versions": {"torch": f"{pins['torch']}+cu130"}}, {})
    assert '"counts_for": "the code and the pins"' in file.read_text()


def test_bitsandbytes_travels_with_the_libraries_that_are_used(tmp_path):
    wheel = tmp_path / "bitsandbytes-1-py3-none-any.whl"
    names = ["cuda118.so", "cuda130.so", "cuda129.so", "cpu.so"]
    files = {f"bitsandbytes/libbitsandbytes_{name}": os.urandom(100) for name in names}
    files["bitsandbytes/__init__.py"] = b""
    with zipfile.ZipFile(wheel, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.writestr("bitsandbytes-1.dist-info/RECORD", "".join(f"{name},sha256=x,100\n" for name in files))
    strip(wheel)
    with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as left:
        kept = [name for name in files if "cuda118" not in name and "cuda129" not in name]
        assert left.namelist() == [*kept, "bitsandbytes-1.dist-info/RECORD"]
        assert [line.split(",")[0] for line in left.read("bitsandbytes-1.dist-info/RECORD").decode().split()] == kept
        assert all(left.read(name) == files[name] for name in kept)
