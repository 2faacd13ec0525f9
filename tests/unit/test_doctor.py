"""The doctor: as a program in this clone, and what it says of machines that are not here."""

import http.server
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from moto_server import CREDENTIALS, moto_server

from heirloom.doctor import access, c_compiler, deepspeed_ops, disk, gpus, interconnect, versions
from heirloom.doctor.finding import Finding, Level
from heirloom.doctor.report import print_brief, print_findings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCTOR = REPOSITORY / "scripts/doctor.py"
H100 = gpus.Gpu("NVIDIA H100 80GB HBM3", 81559, 0, "580.65.06", "9.0")
V100 = gpus.Gpu("Tesla V100-SXM2-16GB", 16384, 0, "580.65.06", "7.0")


def examine(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(DOCTOR), *options], cwd=folder, env={**os.environ, **variables}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip


def findings(folder: Path, *options: str, **variables: str) -> dict[str, dict]:
    report = json.loads(examine(folder, "--json", *options, **variables).stdout)
    return {finding["subject"]: finding for finding in report["findings"]}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with DVC's settings, which is what the doctor takes for a clone."""
    (tmp_path / ".dvc").mkdir()
    return tmp_path


def remote(clone: Path, **settings: str) -> None:
    lines = [f"    {key} = {value}" for key, value in settings.items()]
    text = "\n".join(["[core]", "    remote = storage", "['remote \"storage\"']", *lines])
    (clone / ".dvc/config.local").write_text(text + "\n")


# ---- the program ----


def test_three_forms_tell_the_same_and_each_problem_has_a_remedy(clone: Path) -> None:
    remote(clone, url=str(clone / "storage"))
    found = findings(clone, "--offline")
    assert found["DVC remote"]["level"] == "ok"
    for finding in found.values():
        if finding["level"] in ("warning", "error"):
            assert finding["meaning"] and finding["remedy"]
    printed = examine(clone, "--offline").stdout
    brief = examine(clone, "--offline", "--brief").stdout
    for subject, finding in found.items():
        assert subject in printed
        shown = finding["level"] not in ("ok", "skipped") or subject in ("machine", "memory", "GPUs")
        assert (f": {subject}: " in brief) == shown, brief
    assert printed.splitlines()[-1] == brief.splitlines()[-1].removeprefix("doctor: ")


def test_an_error_is_the_exit_code(clone: Path) -> None:
    healthy = examine(clone, "--offline", "--json")
    assert (healthy.returncode, json.loads(healthy.stdout)["healthy"]) == (0, True)
    remote(clone, url="s3://no-such-bucket/x", endpointurl="http://127.0.0.1:9")
    ill = examine(clone, "--json", HF_HUB_OFFLINE="1", **CREDENTIALS)
    assert (ill.returncode, json.loads(ill.stdout)["healthy"]) == (1, False)


def test_no_torch_is_imported_and_nothing_is_written(clone: Path) -> None:
    code = f"import runpy, sys; sys.argv = ['doctor.py', '--offline']; sys.path[0] = {str(DOCTOR.parent)!r}\n"
    code += f"try: runpy.run_path({str(DOCTOR)!r}, run_name='__main__')\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'dvc', 'boto3', 'deepspeed'} & set(sys.modules)"
    before = sorted(clone.rglob("*"))
    subprocess.run([sys.executable, "-c", code], cwd=clone, check=True, capture_output=True)
    assert sorted(clone.rglob("*")) == before


def test_in_brief_too_torch_is_asked_whether_it_can_use_the_gpus(clone: Path, tmp_path: Path) -> None:
    """A stand-in for nvidia-smi lists one; the torch of this environment finds none."""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 0, 580.65.06, 9.0'\n")
    smi.chmod(0o755)
    path = f"{smi.parent}{os.pathsep}{os.environ['PATH']}"
    brief = examine(clone, "--offline", "--brief", PATH=path).stdout
    assert "doctor: GPUs: 1 × NVIDIA H100 80GB HBM3, 80 GiB each, driver 580.65.06\n" in brief
    assert "no training starts" in next(line for line in brief.splitlines() if ": torch: " in line)


def test_the_bucket_is_listed_or_the_reason_told(clone: Path) -> None:
    with moto_server() as url:
        remote(clone, url="s3://artifacts/heirloom", endpointurl=url)
        found = findings(clone, HF_HUB_OFFLINE="1", **CREDENTIALS)["DVC remote"]
        assert found["level"] == "error" and "NoSuchBucket" in found["found"]
        import boto3

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="artifacts")
        found = findings(clone, HF_HUB_OFFLINE="1", **CREDENTIALS)["DVC remote"]
        assert (found["level"], found["found"]) == ("ok", "s3://artifacts/heirloom can be listed")
    without = dict.fromkeys(CREDENTIALS, "") | {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(clone)}
    found = findings(clone, HF_HUB_OFFLINE="1", **without)["DVC remote"]
    assert "check your AWS credentials" in found["found"]


class Hub(http.server.BaseHTTPRequestHandler):
    """Knows one token."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Bearer right"
        self.send_response(200 if known or self.path == "/api/models?limit=1" else 401)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


def test_a_hub_is_asked_with_the_token(clone: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HUB_OFFLINE": "0"}
        assert findings(clone, **hub, HF_TOKEN="")["model hub"]["found"].endswith("no HF_TOKEN: no gated models")
        assert findings(clone, **hub, HF_TOKEN="right")["model hub"]["found"].endswith("knows the token")
        wrong = findings(clone, **hub, HF_TOKEN="wrong")["model hub"]
        server.shutdown()
    assert (wrong["level"], wrong["remedy"]) == ("error", "renew the token or unset it")
    away = findings(clone, **hub, HF_TOKEN="")["model hub"]
    assert away["level"] == "warning" and "Connection refused" in away["found"]


def test_a_bare_python_is_told_what_to_install(clone: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    done = subprocess.run(
        [str(tmp_path / "bare/bin/python"), str(DOCTOR), "--offline"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "✗ packages" in done.stdout and "do: pip install --requirement envs/training.txt" in done.stdout


# ---- packages ----


def test_packages_are_held_against_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "training.txt"
    torch = importlib.metadata.version("torch").partition("+")[0]
    lock.write_text(f"# a comment\ntorch=={torch}\npywin32==1 ; sys_platform == 'win32'\n")
    assert versions.check_lock(lock).found == "all 1 as training.txt locks them"
    lock.write_text(f"torch=={torch}\npydantic==1.0\n")
    found = versions.check_lock(lock)
    assert found.level is Level.WARNING
    assert found.found == f"other versions than locked: pydantic {importlib.metadata.version('pydantic')} (1.0)"
    lock.write_text(f"torch=={torch}\nno-such-package==1.0\n")
    assert (versions.check_lock(lock).level, versions.check_lock(lock).found) == (
        Level.ERROR,
        "missing: no-such-package",
    )
    assert versions.check_lock(tmp_path / "nowhere.txt").level is Level.NOTE


def test_deepspeeds_note_is_read_as_it_is() -> None:
    from deepspeed.git_version_info_installed import installed_ops

    assert deepspeed_ops.installed_ops() == installed_ops


# ---- GPUs ----


def test_nvidia_smi_is_read() -> None:
    listing = "NVIDIA H100 80GB HBM3, 81559, 40000, 580.65.06, 9.0\nNVIDIA A100-SXM4-40GB, 40960, 0, 580.65.06, 8.0\n"
    found = gpus.describe(gpus.parse_listing(listing))
    assert [finding.subject for finding in found] == ["GPUs", "GPU memory"]
    assert found[0].level is Level.WARNING and found[0].found.startswith("2 × NVIDIA A100-SXM4-40GB and NVIDIA H100")
    assert found[1].found == "in use already (0: 40000 MiB)"
    assert gpus.describe([H100, H100])[0].found == "2 × NVIDIA H100 80GB HBM3, 80 GiB each, driver 580.65.06"


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ("8.6", ["sm_80"], True),
        ("8.0", ["sm_86"], False),
        ("7.0", ["sm_75", "sm_80"], False),
        ("12.0", ["sm_90", "compute_90"], True),
        ("7.0", ["compute_75"], False),
        ("9.0", ["sm_90a"], True),
        ("10.0", ["sm_90"], False),
    ],
)
def test_which_code_runs_on_which_gpu(capability: str, architectures: list[str], runs: bool) -> None:
    assert gpus.runs_on(capability, architectures) is runs


def test_a_torch_that_cannot_use_the_gpus_is_an_error() -> None:
    cuda = {"cuda": "13.0", "available": True, "architectures": ["sm_75", "sm_80", "sm_90"], "nccl": "2.28.9"}
    assert [finding.level for finding in gpus.judge_torch("2.13.0", [H100], cuda)] == [Level.OK, Level.OK]
    volta = gpus.judge_torch("2.13.0", [V100], cuda)[0]
    assert volta.level is Level.ERROR and "no code for compute capability 7.0" in volta.found
    old_driver = gpus.judge_torch("2.13.0", [H100], cuda | {"available": False, "reason": "driver too old"})[0]
    assert "driver too old (driver 580.65.06)" in old_driver.meaning
    on_cpu = gpus.judge_torch("2.13.0+cpu", [H100], cuda | {"cuda": None})[0]
    assert "is a build without CUDA" in on_cpu.found


def test_torch_tells_its_facts() -> None:
    program = Path(gpus.__file__).with_name("torch_facts.py")
    facts = json.loads(subprocess.run([sys.executable, str(program)], capture_output=True, check=True).stdout)
    assert facts.keys() == {"cuda", "available", "reason", "architectures", "nccl"}


# ---- the rest of the machine ----


def test_folders_that_cannot_hold_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.check_disk(tmp_path / "nowhere", "disk", "artifacts").level is Level.ERROR
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(disk, "ENOUGH", 2 * free)
    assert disk.check_disk(tmp_path, "disk", "artifacts").level is Level.WARNING
    monkeypatch.setattr(disk, "LEAST", 2 * free)
    assert "a stage will fail when it saves" in disk.check_disk(tmp_path, "disk", "artifacts").meaning


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_what_triton_compiles_with_is_tried(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    (found,) = c_compiler.check_compiler()
    assert found.level is Level.OK and "gcc" in found.found
    monkeypatch.setattr(c_compiler.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    (found,) = c_compiler.check_compiler()
    assert found.level is Level.ERROR and "Python.h: No such file or directory" in found.found
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = c_compiler.check_compiler()
    assert found.level is Level.ERROR and found.found.startswith("there is none")
    assert "python3-dev" in found.remedy


def test_devices_of_efa_are_told_from_others(tmp_path: Path) -> None:
    for name in ("rdmap0s6", "efa_1", "mlx5_0"):
        (tmp_path / name).mkdir()
    assert interconnect.efa_devices(tmp_path) == ["efa_1", "rdmap0s6"]


def test_the_local_settings_of_dvc_come_first(clone: Path) -> None:
    (clone / ".dvc/config").write_text("[core]\n    remote = other\n['remote \"other\"']\n    url = s3://other/x\n")
    assert access.default_remote(clone)["url"] == "s3://other/x"
    remote(clone, url="s3://mine/x")
    assert access.default_remote(clone)["url"] == "s3://mine/x"
    (clone / ".dvc/config").unlink()
    (clone / ".dvc/config.local").unlink()
    assert access.default_remote(clone) is None


@pytest.mark.parametrize("show", [print_findings, print_brief])
def test_what_others_say_is_text_to_a_terminal(show, capsys: pytest.CaptureFixture[str]) -> None:
    """A bucket's answer, a driver's name, a path."""
    show([Finding("bucket", Level.ERROR, "said \x1b[2Jgone", "\x1b]0;title\x07", "see \u202etxt.exe")])
    printed = capsys.readouterr().out
    assert r"said \x1b[2Jgone" in printed and r"\x1b]0;title\x07" in printed and r"\x202e" in printed
    assert "\x1b" not in printed
