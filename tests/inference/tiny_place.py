"""A folder with a tiny model and tiny processed datasets, and how to run the two scripts in it."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from warm_start import OF_STAGES, warm_ranks, warm_workflow
from watched_processes import processes_in, wait_for

from heirloom.data.dataset_storage import SplitWriter
from heirloom.inference.vllm.environment import VARIABLE

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SENTENCES = [
    f"{name} found a {thing}." for name in ("Ada", "Bo", "Cleo", "Dan", "Eva") for thing in ("kite", "red boat")
]
PROMPTS = 13  # no multiple of batch size or ranks
PAIRS = [
    {
        "prompt": f"{SENTENCES[index]} What did {'she' if index % 2 else 'he'} find?",
        "chosen": " A kite." if index % 2 else " A red boat, and gladly.",
        "rejected": f" {SENTENCES[(index + 3) % 10]}",
    }
    for index in range(7)
]
"""Pairs of answers of different lengths."""


@dataclass(frozen=True)
class Place:
    """A folder with model/ and base/ (of the same shape), and the processed datasets chats/, text/ and pairs/."""

    folder: Path

    def config(self, name: str, **sections: dict) -> Path:
        """Write a run file; JSON is YAML too."""
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps(sections))
        return file

    def run(
        self, *command: str | Path, ranks: int = 1, check: bool = True, seconds: int = 240
    ) -> subprocess.CompletedProcess:
        """Run a script to its end, its libraries loaded before: itself as one rank, or under the launcher as two."""
        done = subprocess.run(
            self.command(*command, ranks=ranks),
            cwd=self.folder,
            env=environment() | warm_ranks(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def command(self, script: str, *arguments: str | Path, ranks: int) -> list[str]:
        """Return what starts a script with its libraries loaded: itself as one rank, or under the launcher as two."""
        launcher = [warm_workflow(*OF_STAGES) / "python", SCRIPTS / "launch.py", "torchrun"]
        begin = launcher if ranks == 2 else [warm_ranks()["PYTHON_EXEC"]]
        return [*map(str, (*begin, SCRIPTS / script, *arguments))]

    def kill_after(self, answers: int, journal: Path, command: list[str], seconds: int = 120) -> None:
        """Start a command, and kill it (-9) once `answers` of its answers stand in a journal; its ranks end with it."""
        variables = environment() | warm_ranks()
        process = subprocess.Popen(command, cwd=self.folder, env=variables, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + seconds
        while not (journal.is_file() and len(journal.read_text().splitlines()) > answers):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not processes_in(self.folder))

    def inference(self, config: Path, output: str, model: str = "model") -> list[str | Path]:
        """Return the command line of the inference stage."""
        inputs = ["--checkpoint", self.folder / model, "--dataset", self.folder / "chats"]
        return [
            "inference.py",
            "--config",
            config,
            "--sections",
            "generation",
            *inputs,
            "--output",
            self.folder / output,
        ]

    def generations(self, output: str) -> list[dict]:
        lines = (self.folder / output / "generations.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def environment() -> dict[str, str]:
    others = ("HEIRLOOM", "DVC")
    kept = {name: value for name, value in os.environ.items() if name == VARIABLE or not name.startswith(others)}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def write_dataset(folder: Path, kind: str, columns: dict[str, str], rows: list[dict]) -> None:
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"kind": kind}))
    with SplitWriter(folder / "test", columns) as split:
        for row in rows:
            split.add(row)
