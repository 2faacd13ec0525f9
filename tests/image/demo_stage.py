"""The demo's first training, made short, and what it leaves."""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from workplace import Workplace

SHORTER = {
    "config/demo/runs/demo-pretrain.yaml": {"max_steps: 200": "max_steps: 4", "warmup_steps: 20": "warmup_steps: 1"},
    "config/demo/datasets/demo-text.yaml": {"rows: 20000": "rows: 2000"},
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


@dataclass(frozen=True)
class DemoStage:
    """A clone in which the training has run outside of the image, and one in which only its inputs were made."""

    outside: Path
    inputs: Path
    home: dict[str, str]
    """Variables with which commands in either are run."""

    @classmethod
    def make(cls, workplace: Workplace, clone: Path, folder: Path) -> "DemoStage":
        """Make both in `folder`."""
        stage = cls(folder / "outside", folder / "inputs", {"HOME": str(folder), "DVC_SITE_CACHE_DIR": f"{folder}/dvc"})
        shutil.copytree(clone, stage.inputs, symlinks=True)
        (stage.inputs / ".dvc/config.local").unlink()
        shorten(stage.inputs)
        workplace.run(sys.executable, "workflow/pipeline", "write", cwd=stage.inputs, **stage.home)
        workplace.run("dvc", "repro", "model-demo-tiny", "process-demo-text", cwd=stage.inputs, **stage.home)
        stage.copy_inputs(stage.outside)
        workplace.run("dvc", "repro", "--single-item", "train-demo-pretrain", cwd=stage.outside, **stage.home)
        return stage

    def copy_inputs(self, folder: Path) -> Path:
        """Copy the clone in which the training has not run to `folder` and return that."""
        return Path(shutil.copytree(self.inputs, folder, symlinks=True))

    def assert_same_artifacts(self, other: Path) -> None:
        """Fail unless the training has left the same files with the same bytes in another clone."""
        compared = 0
        for artifact in TRAINED:
            path = self.outside / artifact
            files = [file for file in (path, *path.rglob("*")) if file.is_file()]
            for file in files:
                assert (other / file.relative_to(self.outside)).read_bytes() == file.read_bytes(), file
                compared += 1
            assert len(list((other / artifact).rglob("*"))) == len(list(path.rglob("*")))
        assert compared > 5


def shorten(folder: Path) -> None:
    """Let the demo's first training take four steps on few rows, and only its report follow it."""
    for name, edits in SHORTER.items():
        text = (folder / name).read_text()
        for old, new in edits.items():
            assert old in text, name
            text = text.replace(old, new)
        if "/runs/" in name:
            text = re.sub(r"^(generation|evaluation):.*\n(  .*\n)*", "", text, flags=re.MULTILINE)
        (folder / name).write_text(text)


def put_apptainer_into(folder: Path, options: tuple[str, ...]) -> None:
    """Make a program `apptainer` that runs podman with `options`."""
    folder.mkdir()
    stand_in = folder / "apptainer"
    stand_in.write_text(APPTAINER.format(python=sys.executable, options=options))
    stand_in.chmod(0o755)
