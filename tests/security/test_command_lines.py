"""No secret stays on a command line, where every user of the machine can read it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TOKEN = "hf_FAKEFAKEFAKEFAKE7777"
SLOW = {"argparse", "datasets", "json", "numpy", "pydantic", "ruamel", "subprocess", "torch", "transformers"}
UNTIL_STARTED_ANEW = """
import os, runpy, sys

def started_anew(_, words):
    print(words, os.environ["HF_TOKEN"], flush=True)
    os._exit(0)

os.execv = started_anew
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PROGRAM = """
import os
from pathlib import Path

print("token in the environment:", os.environ["HF_TOKEN"][:3])
pid, words = os.getpid(), [""]
while not any(word.endswith("launch.py") for word in words):
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split(chr(0))
    print(" ".join(words))
    pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
"""


@pytest.mark.parametrize("flag", [["--hf-token", TOKEN], [f"--hf-token={TOKEN}"]])
@pytest.mark.parametrize("script", ["create_dataset.py", "launch.py"])
def test_a_token_is_off_the_command_line_before_anything_slow_is_imported(script: str, flag: list[str]) -> None:
    """What is imported until the program starts itself anew is told by -X importtime."""
    words = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        UNTIL_STARTED_ANEW,
        str(SCRIPTS / script),
        "here",
        *flag,
        "--debug",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert done.stdout == f"{[sys.executable, str(SCRIPTS / script), 'here', '--debug']} {TOKEN}\n", done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "heirloom.data.hidden_token" in imported
    assert not imported & SLOW


def test_neither_the_launcher_nor_what_it_starts_shows_a_token(tmp_path: Path) -> None:
    """The whole tree: launcher, reaper and program, looked at from within the program."""
    (tmp_path / "shown.py").write_text(PROGRAM)
    words = [sys.executable, str(SCRIPTS / "launch.py"), "python", "shown.py", "--hf-token", TOKEN, "--debug"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "HEIRLOOM", "HF_"))}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "token in the environment: hf_" in done.stdout and "launch.py python shown.py --debug" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
