"""The demo's first training, made short, and what it leaves."""

import re
import sys
from pathlib import Path

SHORTER = {
    "config/runs/demo-pretrain.yaml": {"max_steps: 450": "max_steps: 4", "warmup_steps: 20": "warmup_steps: 1"},
    "config/datasets/demo-text.yaml": {"rows: 20000": "rows: 2000"},
}
TRAINED = ("checkpoints/demo-pretrain", "metrics/training/demo-pretrain.json", "metrics/loss/demo-pretrain.csv")
APPTAINER = """#!{python}
import os, subprocess, sys
from pathlib import Path
if sys.argv[1] == "--version":
    sys.exit(print("apptainer version 1.4.0"))
# [--quiet --silent] exec --home FOLDER [OPTIONS] IMAGE bash -c COMMAND
file, shell, _, command = sys.argv[-4:]
Path(file + ".used").touch()
here = os.getcwd()
sys.exit(subprocess.call([
    "podman", "run", "--rm", "--pid", "host", "--user", str(os.getuid()), *{options},
    "--tmpfs", "/tmp", "--volume", here + ":" + here, "--workdir", here,
    "--env", "HEIRLOOM_CONTROLLER", "--entrypoint", shell, Path(file).read_text(), "-c", command,
]))
"""
"""Podman in the place of Apptainer, which Debian does not have: same image, same command, same folder."""


def shorten(folder: Path) -> None:
    """Let the demo's first training take four steps on few rows, and only its report follow it."""
    for name, edits in SHORTER.items():
        text = (folder / name).read_text()
        for old, new in edits.items():
            assert old in text, name
            text = text.replace(old, new)
        if name.startswith("config/runs"):
            text = re.sub(r"^(generation|evaluation):.*\n(  .*\n)*", "", text, flags=re.MULTILINE)
        (folder / name).write_text(text)


def put_apptainer_into(folder: Path, options: tuple[str, ...]) -> None:
    """Make a program `apptainer` that runs podman with `options`."""
    folder.mkdir()
    stand_in = folder / "apptainer"
    stand_in.write_text(APPTAINER.format(python=sys.executable, options=options))
    stand_in.chmod(0o755)


def assert_same_artifacts(one: Path, other: Path) -> None:
    """Fail unless the training has left the same files with the same bytes in both clones."""
    compared = 0
    for artifact in TRAINED:
        path = one / artifact
        files = [file for file in (path, *path.rglob("*")) if file.is_file()]
        for file in files:
            assert (other / file.relative_to(one)).read_bytes() == file.read_bytes(), file
            compared += 1
        assert len(list((other / artifact).rglob("*"))) == len(list(path.rglob("*")))
    assert compared > 5
