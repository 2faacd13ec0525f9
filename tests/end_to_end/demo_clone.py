"""A clone of this repository in which stages really run, and what its artifacts hold."""

import os
import subprocess
import sys
from pathlib import Path

from warm_start import OF_STAGES, warm_environment, warm_programs, warm_ranks, warm_workflow
from working_tree import copy_working_tree

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = ("data", "tokenizers", "models", "checkpoints", "generations", "baselines", "base_scores", "metrics")


class Demo:
    """A clone of this repository, working tree included, with a home folder of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.venv = folder, Path(sys.prefix)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "share"), "PATH": path}

    @classmethod
    def create(cls, folder: Path, home: Path) -> "Demo":
        copy_working_tree(folder)
        demo = cls(folder, home)
        demo.git("init", "-q", "-b", "main")
        demo.commit("begin")
        return demo

    def run(self, *command: str) -> str:
        """Return what a command prints; fail with it when it does not end with 0."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}:\n{done.stdout[-8000:]}"
        return done.stdout

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def warm(self, *libraries: str) -> "Demo":
        """Return this clone with programs whose libraries are loaded already, and with ranks that have `libraries`.

        With those, the other programs of stages have theirs too.
        """
        demo = Demo(self.folder, Path(self.environment["HOME"]))
        more = OF_STAGES if libraries else ()
        demo.environment = {**self.environment, "PATH": f"{warm_workflow(*more)}{os.pathsep}{self.environment['PATH']}"}
        if libraries:
            demo.environment |= warm_ranks(libraries)
            demo.venv = warm_environment(*more)
        return demo

    def warmed(self, **variables: str) -> "Demo":
        """Let each stage be one process, forked where its libraries are loaded already: a third of the CPU time.

        `variables`: such as libraries read as they are loaded.
        """
        self.environment = self.warm().environment | variables
        warm = warm_programs(own=tuple(variables.items()))
        launcher = self.folder / "scripts/heirloom/launcher"
        for name, old, new in (
            ("ranks.py", "CPU_RANKS = 2\n", "CPU_RANKS = 1\n"),
            ("ranks.py", "return [sys.executable, str(program", f"return [*{warm.python}, str(program"),
            ("hosts/detection.py", 'if program.kind == "python":', "if ranks.per_node == 1:"),
        ):
            text = (launcher / name).read_text()
            assert text.count(old) == 1, f"{old} in {name}"
            (launcher / name).write_text(text.replace(old, new))
        self.commit("one warm process a stage")
        return self

    def make(self, *words: str) -> str:
        return self.run("make", *words, f"VENV={self.venv}")

    def git(self, *words: str) -> str:
        return self.run("git", "-c", "user.name=tester", "-c", "user.email=tester@example.org", *words)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def plan(self) -> list[str]:
        """Return the stages that are not up to date."""
        lines = self.run(sys.executable, "workflow/pipeline", "plan", "--stages").splitlines()
        return [line.split()[1] for line in lines if line.startswith(("run ", "then ", "restore "))]

    def nothing_to_do(self) -> None:
        assert self.plan() == []
        assert "Nothing to be done" in self.run("snakemake", "-n")
        assert "up to date" in self.run("dvc", "status")
        assert "Running stage" not in self.run("dvc", "repro", "--dry")


def hashes(folder: Path) -> dict[str, bytes]:
    """Return file → content below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
