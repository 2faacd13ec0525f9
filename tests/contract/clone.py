"""A throwaway clone of this repository whose stages cost nothing, and both engines to run in it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dvc_has_nothing_to_do
from warm_start import warm_workflow
from watched_processes import processes_in, wait_for
from working_tree import copy_working_tree

REPOSITORY = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
PROGRAMS = {
    "download_dataset": "",
    "generate_dataset": "",
    "create_tokenizer": "",
    "create_model": "",
    "create_dataset": "from heirloom import data_part  # noqa: F401",
    "train": "from heirloom import training_part  # noqa: F401",
    "sft_train": "from heirloom import training_part  # noqa: F401",
    "pack_dataset": "",
    "score_reference": "",
    "dpo_train": "from heirloom import training_part  # noqa: F401",
    "try_rewards": "",
    "grpo_train": "from heirloom import training_part  # noqa: F401",
    "inference": "from heirloom import inference_part  # noqa: F401",
    "evaluate_model": "",
    "lm_eval_harness": "",
    "create_report": "",
}
CONFIG = {
    "datasets/text.yaml": """
        tokenizer: tiny
        source: {generator: demo, part: text, rows: 10, seed: 1}
        processing: {processing_function: plain_text_processing_function, max_length: 16}
    """,
    "datasets/chats.yaml": """
        tokenizer: tiny
        source: {path: config/chats.jsonl}
        processing: {processing_function: dummy_processing_function, max_length: 16}
    """,
    "chats.jsonl": '{"messages": []}\n',
    "models/tiny.yaml": """
        tokenizer: {train_on: text, vocab_size: 300}
        init: {model_type: llama, hidden_size: 8, seed: 0}
    """,
    # the chain: tiny → pre → sft
    "runs/pre.yaml": """
        base: tiny
        dataset: text
        trainer: trainer
        training: {learning_rate: 1e-5, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1}
        generation: {max_new_tokens: 4, dataset: chats}
        evaluation: {metrics: [perplexity, exact_match]}
        tracking: {logging_steps: 1}
    """,
    "runs/sft.yaml": """
        base: pre
        dataset: chats
        trainer: sft
        training: {learning_rate: 1e-5, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1}
        generation: {max_new_tokens: 4}
    """,
    # beside the chain
    "runs/other.yaml": """
        base: tiny
        dataset: text
        trainer: trainer
        training: {learning_rate: 1e-5, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1}
    """,
}
STAGES = {
    "download-text", "tokenizer-tiny", "model-tiny", "process-text", "process-chats",
    "train-pre", "generate-pre", "evaluate-pre", "train-sft", "generate-sft", "train-other",
    "report-pre", "report-sft", "report-other",
}  # fmt: skip


class Clone:
    """A working copy; its methods type what a user types and return what a user sees."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        self.trace = folder.parent / f"{folder.name}.trace"

    # ---- making clones ----

    @classmethod
    def create(cls, folder: Path, home: Path) -> "Clone":
        """Copy what git would clone of this repository, with stand-ins for the programs and a small config."""
        kept = (
            "workflow/",
            "rules/",
            "scripts/heirloom/",
            ".dvc/.gitignore",
            ".dvc/config",
            "envs/",
            "config/deepspeed/",
        )
        own = (".gitattributes", ".gitignore", ".dvcignore", "sagemaker")
        copy_working_tree(folder, lambda name: name.startswith(kept) or name in own)
        for program in ("launch.py", "reproduce.py", "check_gates.py", "register.py"):
            shutil.copy2(REPOSITORY / "scripts" / program, folder / "scripts" / program)
        clone = cls(folder, home)
        template = (STAND_INS / "stage_program.py").read_text()
        for program, imports in PROGRAMS.items():
            clone.write(f"scripts/{program}.py", template.replace("# OWN IMPORTS", imports))
        for part in ("shared", "data", "training", "inference"):
            clone.write(f"scripts/heirloom/{part}_part.py", f'"""Code of {part}."""\n')
        for name, text in CONFIG.items():
            clone.write(
                f"config/{name}", "\n".join(line.removeprefix("        ") for line in text.strip("\n").split("\n"))
            )
        clone.git("init", "-q", "-b", "main")
        clone.git("config", "user.name", "tester")
        clone.git("config", "user.email", "tester@example.org")
        clone.settings()
        clone.pipeline("write")
        clone.commit("begin")
        return clone

    def settings(self) -> None:
        """Do what `workflow/clone_settings.sh` does, with this test's Python."""
        self.git("config", "merge.dvc-stages.driver", f"'{sys.executable}' workflow/pipeline merge %O %A %B")
        storage = self.home / "storage"
        text = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {storage}\n"
        (self.folder / ".dvc/config.local").write_text(text)

    def clone_to(self, folder: Path) -> "Clone":
        """`git clone` into another folder, with the same DVC remote."""
        subprocess.run(["git", "clone", "-q", str(self.folder), str(folder)], check=True)
        other = Clone(folder, self.home)
        other.git("config", "user.name", "tester")
        other.git("config", "user.email", "tester@example.org")
        other.settings()
        return other

    def copy_to(self, folder: Path) -> "Clone":
        """Copy the whole folder with data, cache and state, as it is."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Clone(folder, self.home)

    # ---- what a user types ----

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess:
        """Run a command to its end, where the workflow's libraries are loaded already."""
        environment = self.environment(variables)
        warm = str(warm_workflow())
        return subprocess.run(
            [f"{warm}/python" if word == sys.executable else word for word in command[:1]] + list(command[1:]),
            cwd=self.folder,
            env=environment | {"PATH": f"{warm}{os.pathsep}{environment['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, *command: str, **variables: str) -> subprocess.Popen:
        """Start a command of which a test asks how it begins and ends."""
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment(variables), start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(STAND_INS), "TRACE": str(self.trace), "HOME": str(self.home)}
        return {**os.environ, **own, **variables}

    def snakemake(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        return self.run("snakemake", "--nocolor", *words, **variables)

    def dvc(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        return self.run("dvc", *words, **variables)

    def pipeline(self, *words: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "workflow/pipeline", *words)

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text, f"{old} is not in {name}"
        (self.folder / name).write_text(text.replace(old, new))

    def start_slow(self, stage: str, *command: str) -> subprocess.Popen:
        """Start a command in which a stage waits half-way for `go_on`, and return once it does."""
        process = self.start(*command, SLOW=stage)
        self.wait_until_slow(process)
        return process

    def go_on(self) -> None:
        Path(f"{self.trace}.go").touch()

    # ---- what a user sees ----

    def executed(self) -> list[str]:
        """Return the stages executed since the last call."""
        lines = self.trace.read_text().split() if self.trace.exists() else []
        self.trace.write_text("")
        return sorted(lines)

    def plan(self, *words: str) -> dict[str, str]:
        """Return stage → what `plan` says of it: `run: reason; reason`."""
        done = self.pipeline("plan", "--stages", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return planned(done.stdout)

    def snakemake_jobs(self, *words: str) -> set[str]:
        """Return the stages that `snakemake -n` would bring up to date."""
        done = self.snakemake("-n", "-p", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"workflow/pipeline run (\S+)", done.stdout))

    def nothing_to_do(self) -> None:
        """Assert that both engines and the ledger have nothing to do."""
        done = self.snakemake("-n")  # it prints the plan too
        assert planned(done.stderr) == {}
        assert "\n0 to run, 0 after them, 0 to restore, " in f"\n{done.stderr}", done.stderr
        assert "Nothing to be done" in done.stdout + done.stderr, done.stdout + done.stderr
        both = self.run(sys.executable, dvc_has_nothing_to_do.__file__)
        status, _, dry = both.stdout.partition(dvc_has_nothing_to_do.BETWEEN)
        assert "up to date" in status, both.stdout + both.stderr
        assert "Running stage" not in dry, dry
        assert both.returncode == 0, both.stdout + both.stderr

    def kill_when_slow(self, process: subprocess.Popen) -> None:
        """Wait until the slow stage is half-way, then kill the process and all that it started, with SIGKILL."""
        self.wait_until_slow(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for(lambda: not processes_in(self.folder), seconds=30, every=0.1)  # what it started notices, and ends
        held = self.folder / ".dvc/tmp/rwlock"  # DVC counts the killed ones until the first process has collected them
        numbers = set(re.findall(r'"pid": (\d+)', held.read_text() if held.exists() else ""))
        wait_for(lambda: not any(Path("/proc", number).exists() for number in numbers), seconds=60, every=0.1)

    def wait_until_slow(self, process: subprocess.Popen) -> None:
        """Wait until the slow stage is half-way."""
        signal_file = Path(f"{self.trace}.slow")
        deadline = time.monotonic() + 120
        while not signal_file.exists():
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        signal_file.unlink()


def planned(text: str) -> dict[str, str]:
    """Return stage → `run: reason; reason` of a printed plan."""
    rows = [re.match(r"(run|then|restore) +(\S+) +(.*)", line) for line in text.splitlines()]
    return {row[2]: f"{row[1]}: {row[3]}" for row in rows if row}


def succeeded(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """Assert that a command ended with 0, showing what it said if not."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done
