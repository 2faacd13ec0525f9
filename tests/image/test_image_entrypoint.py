"""PID 1 of the image, here as an ordinary process: what a signal does, and what the exit code is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ENTRYPOINT = Path(__file__).resolve().parents[2] / "docker/entrypoint.py"

# the command leaves at once on SIGTERM, as dvc does; what it has started needs a moment for its checkpoint
LEAVES_ITS_CHILD = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", '''
import pathlib, signal, time
def save(*_):
    time.sleep(1)
    pathlib.Path("checkpoint").write_text("saved")
    raise SystemExit
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
time.sleep(60)
'''])
time.sleep(60)
"""
STUBBORN = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").write_text(str(__import__("os").getpid()))
time.sleep(60)
"""


def start(folder: Path, *command: str, **variables: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-I", str(ENTRYPOINT), *command], cwd=folder, env={**os.environ, **variables},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.05)


def test_after_a_signal_everything_may_finish(tmp_path: Path) -> None:
    entry = start(tmp_path, sys.executable, "-c", LEAVES_ITS_CHILD)
    wait_for(tmp_path / "ready")
    entry.send_signal(signal.SIGTERM)
    assert entry.wait(60) == 128 + signal.SIGTERM
    assert (tmp_path / "checkpoint").read_text() == "saved"


def test_without_a_signal_nothing_outlives_the_command(tmp_path: Path) -> None:
    leave = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '''{STUBBORN}''']); import time, pathlib\n"
    )
    leave += "while not pathlib.Path('ready').exists(): time.sleep(0.05)\nsys.exit(7)"
    entry = start(tmp_path, sys.executable, "-c", leave)
    assert entry.wait(60) == 7
    left = int((tmp_path / "ready").read_text())
    assert not Path(f"/proc/{left}").exists()


def test_what_does_not_end_within_the_grace_is_killed(tmp_path: Path) -> None:
    leave = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', '''{STUBBORN}''']); time.sleep(60)"
    entry = start(tmp_path, sys.executable, "-c", leave, HEIRLOOM_GRACE_SECONDS="0.1")
    wait_for(tmp_path / "ready")
    time.sleep(0.2)
    entry.send_signal(signal.SIGTERM)
    assert entry.wait(60) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{(tmp_path / 'ready').read_text()}").exists()


def test_a_missing_command_is_told(tmp_path: Path) -> None:
    entry = start(tmp_path, "no-such-program")
    assert entry.communicate(timeout=60)[0] == "no-such-program: No such file or directory\n"
    assert entry.returncode == 127
    entry = start(tmp_path)
    assert "no command: give one, for example `doctor`" in entry.communicate(timeout=60)[0]
    assert entry.returncode == 2
