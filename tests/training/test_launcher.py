"""launch.py with small stand-in programs: output, exit codes, records, signals, work folders, the ledger's answer."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pseudo_terminal import in_terminal
from training_workplace import LAUNCH, Workplace, environment
from watched_processes import alive, wait_for

from heirloom import distributed
from heirloom.errors import HeirloomError
from heirloom.launcher import gpus
from heirloom.launcher.environment import for_program
from heirloom.launcher.failure import reason_of_failure
from heirloom.launcher.gpus import visible_gpus
from heirloom.launcher.hosts.detection import LocalHost
from heirloom.launcher.processes import REPEATED_SECONDS
from heirloom.launcher.ranks import Ranks
from heirloom.launcher.work import WorkFolder

IDENTITY = "0123456789abcdef" * 4
PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
work = Path(os.environ["HEIRLOOM_WORK_DIR"])
"""


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def program(place: Workplace, body: str) -> str:
    (place.folder / "program.py").write_text(PROGRAM + body)
    return "program.py"


def ledger(place: Workplace, restored: bool, identity: str = IDENTITY) -> None:
    folder = place.folder / "workflow" / "pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    answer = json.dumps({"identity": identity, "restored": restored, "products": [], "reads": {}, "gpus": None})
    (folder / "__main__.py").write_text(f"import sys\nassert sys.argv[1] == 'begin'\nprint('''{answer}''')\n")


def test_two_cpu_ranks_with_one_thread_each_whatever_the_environment_says(place):
    names = ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "PYTHONHASHSEED", "HEIRLOOM_DEVICE")
    body = f"sys.stdout.write(' '.join(os.environ[name] for name in {names}) + '\\n')"  # in one piece
    done = place.launch("torchrun", program(place, body), OMP_NUM_THREADS="7", PYTHONHASHSEED="5", PATH="/nowhere")
    assert sorted(done.stdout.split("\n")) == ["", "0 2 1 0 cpu", "1 2 1 0 cpu"]
    assert (place.folder / "logs" / "program.log").read_text() == done.stdout


def test_in_a_job_the_log_begins_with_the_machine_and_ends_with_the_error(place):
    name = program(place, "print('working', flush=True)\nraise RuntimeError('the cause')")
    failed = place.launch("python", name, check=False, TRAINING_JOB_NAME="a-job")
    *_, error, last = said = (place.folder / "logs" / "program.log").read_text().splitlines()
    assert said[0].startswith("doctor: machine: "), said
    assert said.index("working") > said.index("doctor: nothing stands in the way")
    assert (error, last) == ("RuntimeError: the cause", "program failed: RuntimeError: the cause")
    assert failed.stdout.splitlines() == said
    at_home = place.launch("python", name, check=False)
    assert "doctor" not in at_home.stdout + (place.folder / "logs" / "program.log").read_text()


def test_a_doctor_that_cannot_answer_keeps_no_job_from_its_work(place):
    shutil.copytree(LAUNCH.parent, place.folder / "scripts")
    (place.folder / "scripts" / "doctor.py").write_text("raise ImportError('no stethoscope')")
    done = subprocess.run(
        [sys.executable, "scripts/launch.py", "python", program(place, "print('done')")],
        cwd=place.folder, env=environment(TRAINING_JOB_NAME="a-job"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = (place.folder / "logs" / "program.log").read_text().splitlines()
    assert said == ["doctor: it could not examine this machine: ImportError: no stethoscope", "done"], done


def test_one_rank_a_gpu(monkeypatch, tmp_path):
    """A stand-in nvidia-smi lists four GPUs; CUDA_VISIBLE_DEVICES chooses among them."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\nfor n in 0 1 2 3; do echo "GPU $n: stand-in"; done\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for chosen, count in ((None, 4), ("1,3", 2), ("", 0), ("-1", 0)):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if chosen is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert visible_gpus() == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert LocalHost(gpus=4).ranks("torchrun").world_size == 4
    assert LocalHost(gpus=0).ranks("torchrun").world_size == 2
    assert LocalHost(gpus=4).ranks("python").world_size == 1


@pytest.mark.parametrize(
    ("variables", "promise"),
    [
        ({"SM_CURRENT_INSTANCE_TYPE": "ml.g5.12xlarge"}, "SageMaker says that this is an ml.g5.12xlarge"),
        ({"SM_CURRENT_INSTANCE_TYPE": "ml.p4d.24xlarge"}, "SageMaker says that this is an ml.p4d.24xlarge"),
        ({"SM_CURRENT_INSTANCE_TYPE": "ml.m5.xlarge"}, None),
        ({"SLURM_JOB_GPUS": "0,1"}, r"Slurm has given this job GPUs \(SLURM_JOB_GPUS=0,1\)"),
        ({"SLURM_GPUS_ON_NODE": "0"}, None),
        ({"device": "nvidia0"}, "nvidia0 is there"),
        ({"device": "nvidia0", "CUDA_VISIBLE_DEVICES": ""}, None),
    ],
)
def test_a_machine_that_should_have_a_gpu_starts_no_cpu_ranks(monkeypatch, tmp_path, variables, promise):
    """None of them has an nvidia-smi that lists one."""
    monkeypatch.setattr(gpus, "DEVICES", str(tmp_path / "nvidia[0-9]"))
    if device := variables.pop("device", None):
        (tmp_path / device).touch()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert LocalHost(visible_gpus()).ranks("python").world_size == 1
    if promise is None:
        assert LocalHost(visible_gpus()).ranks("torchrun").device == "cpu"
    else:
        with pytest.raises(HeirloomError, match=f"{promise}, but `nvidia-smi -L` lists no GPU"):
            LocalHost(visible_gpus()).ranks("torchrun")


def test_a_rank_whose_promised_gpu_torch_cannot_use_ends_with_torchs_own_reason(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    for promised in (None, "cpu"):
        if promised:
            monkeypatch.setenv("HEIRLOOM_DEVICE", promised)
        distributed.check_device()
    monkeypatch.setenv("HEIRLOOM_DEVICE", "gpu")
    if distributed.on_cpu():
        with pytest.raises(HeirloomError, match="^GPU 1 of this machine .* cannot use it: .*(CUDA|NVIDIA|driver)"):
            distributed.check_device()


@pytest.mark.parametrize(
    ("driver", "newer"), [("535.274.02", True), ("580.65.06", False), ("580.95.05", False), (None, False)]
)
def test_an_older_driver_gets_the_libraries_of_forward_compatibility(monkeypatch, tmp_path, driver, newer):
    """As NVIDIA's images hold them: libcuda.so.1 is a link to the library of the driver that it belongs to."""
    compat = tmp_path / "compat"
    compat.mkdir()
    (compat / "libcuda.so.580.65.06").touch()
    (compat / "libcuda.so.1").symlink_to("libcuda.so.580.65.06")
    monkeypatch.setattr(gpus, "COMPATIBLE", compat / "libcuda.so.1")
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    if driver:
        line = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build\nGCC version: 12\n"
        gpus.DRIVER.write_text(line)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/own")
    given = for_program("torchrun", Ranks(1, 2, "gpu"), WorkFolder(tmp_path), None, None)
    assert given.get("LD_LIBRARY_PATH") == (f"{compat}{os.pathsep}/own" if newer else None)
    assert "LD_LIBRARY_PATH" not in for_program("torchrun", Ranks(1, 2, "cpu"), WorkFolder(tmp_path), None, None)


def test_ranks_on_gpus_share_the_cores_and_fragment_no_memory(monkeypatch, tmp_path):
    work, eight = WorkFolder(tmp_path), Ranks(1, 8, "gpu")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(96)))
    given = for_program("torchrun", eight, work, None, None)
    assert (given["OMP_NUM_THREADS"], given["PYTORCH_ALLOC_CONF"]) == ("12", "expandable_segments:True")
    assert (given["HEIRLOOM_DEVICE"], "DS_ACCELERATOR" in given) == ("gpu", False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    own = for_program("torchrun", eight, work, None, None)
    assert not {"OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF"} & own.keys()


def test_the_exit_code_and_the_first_error_of_a_rank_reach_the_user(place):
    body = "if os.environ['RANK'] == '1': raise RuntimeError('the real cause')\ntime.sleep(60)"
    done = place.launch("torchrun", program(place, body), "--output", "out/x", check=False)
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith("program-x failed: RuntimeError: the real cause")


def test_an_exit_code_passes_through_and_a_secret_is_not_recorded(place):
    body = "sys.exit(7)"
    arguments = ("--hf-token=hf_secret1", "--api-key", "hf_secret2", "--rows", "3")
    assert place.launch("python", program(place, body), *arguments, check=False).returncode == 7
    text = (place.folder / ".heirloom" / "records" / "program.json").read_text()
    record = json.loads(text)
    assert record["exit_code"] == 7 and record["versions"]["torch"] and record["seconds"] >= 0
    assert "hf_secret" not in text and record["command"][-2:] == ["--rows", "3"]


def test_a_log_that_cannot_be_written_does_not_end_the_program(place):
    """The kernel's file /dev/full has no space left, ever."""
    (place.folder / "logs").mkdir()
    (place.folder / "logs" / "program.log").symlink_to("/dev/full")
    done = place.launch("python", program(place, "print('one')\nprint('two', flush=True)"))
    assert "logs/program.log cannot be written to (No space left on device): the program goes on" in done.stdout
    assert "one\ntwo\n" in done.stdout


def test_what_a_program_prints_gives_a_terminal_no_orders_and_the_log_has_all(place):
    """Progress may still redraw its line; characters of any script arrive, also across the pieces of a pipe."""
    said = "\x1b]0;title\x07\x1b[2J red \u202eturned \x9b31m\n 1/2\r 2/2\nхорошо 你好\n"
    name = program(place, f"for byte in {said!r}.encode(): os.write(1, bytes([byte]))")
    code, shown = in_terminal([sys.executable, str(LAUNCH), "python", name], place.folder, environment(), 200)
    assert code == 0, shown
    expected = "\\x1b]0;title\\x07\\x1b[2J red \\x202eturned \\x9b31m\n 1/2\r 2/2\nхорошо 你好\n"
    assert shown.replace("\r\n", "\n") == expected
    assert (place.folder / "logs" / "program.log").read_bytes().decode() == said


@pytest.mark.parametrize("kind", ["python", "torchrun"])
def test_sigterm_reaches_the_program_and_nothing_outlives_it(place, kind):
    """The program ignores nothing and has a child in a session of its own, which ends too."""
    body = """
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
(work / f"child{os.environ.get('RANK', '0')}").write_text(str(child.pid))
time.sleep(600)
"""
    launcher = place.start(kind, program(place, body), "--output", "x")
    children = place.folder / ".x.work"
    wait_for(lambda: len(list(children.glob("child*"))) == (2 if kind == "torchrun" else 1))
    wait_for(lambda: all(file.read_text() for file in children.glob("child*")))
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=40) == 128 + signal.SIGTERM
    assert not any(alive(int(file.read_text())) for file in children.glob("child*"))


def test_a_killed_launcher_takes_a_python_program_with_it(place):
    body = "(work / 'pid').write_text(str(os.getpid()))\ntime.sleep(600)"
    launcher = place.start("python", program(place, body), "--output", "x")
    file = place.folder / ".x.work" / "pid"
    wait_for(lambda: file.is_file() and file.read_text())
    launcher.kill()
    wait_for(lambda: not alive(int(file.read_text())), seconds=10)


@pytest.mark.parametrize("victim", ["launcher", "reaper"])
def test_what_a_rank_has_started_ends_with_a_killed_launcher(place, victim):
    """A compiler that builds an operator, say: it has a session of its own and does not watch its parent."""
    body = """
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
(work / "child").write_text(str(child.pid))
time.sleep(600)
"""
    launcher = place.start("torchrun", program(place, body), "--output", "x")
    file = place.folder / ".x.work" / "child"
    wait_for(lambda: file.is_file() and file.read_text())
    if victim == "launcher":
        launcher.kill()
    else:
        os.kill(int(Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()[0]), signal.SIGKILL)
    wait_for(lambda: not alive(int(file.read_text())), seconds=10)
    assert launcher.wait(timeout=30) != 0


def test_a_program_that_does_not_end_in_its_grace_is_killed(place):
    """The same signal once more, after a while, ends the grace."""
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(work / 'begun').touch()\ntime.sleep(600)"
    for name, grace in (("x", "1"), ("y", "600")):
        launcher = place.start("python", program(place, body), "--output", name, HEIRLOOM_GRACE_SECONDS=grace)
        wait_for((place.folder / f".{name}.work" / "begun").is_file)
        launcher.send_signal(signal.SIGTERM)
        if name == "y":
            time.sleep(REPEATED_SECONDS + 0.2)
            launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=30) == 128 + signal.SIGTERM
        assert f"SIGTERM: the program may take {grace} s to end" in place.said_by(launcher)
    refused = place.launch("python", "program.py", "--output", "x", check=False, HEIRLOOM_GRACE_SECONDS="soon")
    assert refused.stdout == (
        "launch.py: HEIRLOOM_GRACE_SECONDS is 'soon': must be a number of seconds above 0, for example 110\n"
    )


def test_an_ignored_signal_stays_ignored(place):
    """So that `nohup` does what it is for."""
    body = "(work / 'begun').touch()\ntime.sleep(1)"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        launcher = place.start("python", program(place, body), "--output", "x")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for((place.folder / ".x.work" / "begun").is_file)
    launcher.send_signal(signal.SIGHUP)
    assert launcher.wait(timeout=30) == 0


def test_a_program_that_ends_is_not_waited_for_because_of_what_it_left(place):
    body = "subprocess.Popen(['sleep', '600'], start_new_session=True)\nprint('done', flush=True)"
    begun = time.monotonic()
    assert place.launch("python", program(place, body)).stdout == "done\n"
    assert time.monotonic() - begun < 300  # of the 600


def test_the_same_stage_runs_once_at_a_time(place):
    body = "(work / 'begun').touch()\ntime.sleep(600)"
    first = place.start("python", program(place, body), "--output", "x")
    wait_for((place.folder / ".x.work" / "begun").is_file)
    second = place.launch("python", "program.py", "--output", "x", check=False)
    assert second.returncode == 75
    assert f"already running (process {first.pid})" in second.stdout
    first.kill()


def test_a_restored_stage_is_not_executed(place):
    ledger(place, restored=True)
    done = place.launch("python", program(place, "raise SystemExit('executed')"), DVC_STAGE="train-a")
    assert done.stdout == "train-a: restored from an earlier identical execution\n"


def test_a_ledger_that_refuses_stops_the_stage(place):
    ledger(place, restored=False)
    (place.folder / "workflow" / "pipeline" / "__main__.py").write_text("import sys; sys.exit('stage unknown')")
    done = place.launch("python", program(place, "print('executed')"), DVC_STAGE="train-a", check=False)
    assert done.returncode == 1 and done.stdout == "stage unknown\n"


def test_work_is_kept_by_identity_and_ranks_until_the_stage_succeeds(place):
    ledger(place, restored=False)
    work = place.folder / ".heirloom" / "work"
    other_ranks = work / f"train-a-{IDENTITY[:16]}-w8"
    other_stage = work / f"train-a-b-{IDENTITY[:16]}-w1"
    other_ranks.mkdir(parents=True)
    other_stage.mkdir()
    body = "print(work, len(os.environ['HEIRLOOM_IDENTITY'])); sys.exit(not (work / 'x').exists())"
    failed = place.launch("python", program(place, body), DVC_STAGE="train-a", check=False)
    assert failed.returncode == 1 and f".heirloom/work/train-a-{IDENTITY[:16]}-w1 64" in failed.stdout
    assert "an interrupted run on 8 ranks does not fit 1: starting afresh" in failed.stdout
    mine = work / f"train-a-{IDENTITY[:16]}-w1"
    assert mine.is_dir()
    (mine / "x").touch()
    place.launch("python", "program.py", DVC_STAGE="train-a")
    assert not mine.exists() and not other_ranks.exists() and other_stage.exists()


@pytest.mark.parametrize("arguments", [(), ("python",), ("mpirun", "x.py"), ("python", "absent.py")])
def test_a_wrong_command_is_told_in_one_line(place, arguments):
    done = place.launch(*arguments, check=False)
    assert done.returncode != 0 and len(done.stdout.splitlines()) == 1


def test_reasons_of_failures():
    assert (
        reason_of_failure(["error on rank 1: it is so: yes", "Traceback (most recent call last):"], 1)
        == "it is so: yes"
    )
    assert reason_of_failure(["error: 2 of 3 rows:", "  a:1: bad", "mend them"], 1) == "2 of 3 rows: a:1: bad"
    trace = ["Traceback (most recent call last):", '  File "x.py"', "torch.OutOfMemoryError: CUDA out of memory."]
    connection = ["[rank0]: Traceback (most recent call last):", "[rank0]: RuntimeError: Connection closed by peer"]
    assert reason_of_failure([*connection, *trace], 1) == "torch.OutOfMemoryError: CUDA out of memory."
    summary = [
        "Root Cause (first observed failure):",
        "[0]:",
        "  rank      : 1 (local_rank: 1)",
        "  exitcode  : -9 (pid: 7) (SIGKILL)",
    ]
    killed = "rank 1 was killed by signal 9; unless someone did that,"
    assert reason_of_failure([*connection, *summary], 1).startswith(killed)
    assert reason_of_failure(connection, 1) == "RuntimeError: Connection closed by peer"
    twice = [f"[rank1]: [rank1]: {line}" for line in trace]  # torch's prefix and ours
    assert reason_of_failure([*twice, *connection], 1) == "torch.OutOfMemoryError: CUDA out of memory."

    def entry(rank: int, exit_code: int) -> list[str]:
        return [f"  rank      : {rank} (local_rank: {rank})", f"  exitcode  : {exit_code} (pid: {7 + rank})"]

    root = "Root Cause (first observed failure):"
    for others, root_cause in (([entry(1, -9)], entry(0, 1)), ([entry(1, -9)], entry(0, -15)), ([], entry(1, -9))):
        told = [*connection, "Failures:", *(line for other in others for line in other), root, *root_cause]
        assert reason_of_failure(told, 1).startswith(killed)  # torchrun's clock has seconds, so its root may be wrong
    gave_up = "W1 api.py:1050] Unable to shutdown process 8 via Signals.SIGTERM, forcefully exiting via Signals.SIGKILL"
    assert "closed by peer" in reason_of_failure([*connection, gave_up, "Failures:", *entry(1, -9), root], 1)
    assert reason_of_failure([*entry(0, -6), *entry(1, -9)], 1).startswith(killed)
    assert reason_of_failure(entry(0, -6), 1) == "rank 0 was killed by signal 6"
    watchdog = (
        "[rank0]:[E1 ProcessGroupNCCL] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, "
        "OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600029 milliseconds before timing out."
    )
    assert reason_of_failure([watchdog, *summary], 1).startswith("a rank waited 600 s for another rank in vain")
    assert reason_of_failure(["done"], 3) == "its program ended with exit code 3"
