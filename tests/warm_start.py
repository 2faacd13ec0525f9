"""A Python that has imported heavy libraries once and forks a process for each program that it is told to run.

Several programs begin with the same seconds of imports. Each still runs as `python PROGRAM OPTIONS` does: its own
process, its own folder first on sys.path, none of this repository's modules imported before. Signals to the process
that stands for it (warm_client.py) are its own, and it dies with that process.

What all tests may use is loaded once for all of pytest's workers, by the first of them that asks for it.
"""

import atexit
import contextlib
import copy
import fcntl
import functools
import gc
import hashlib
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OPTIONAL = ("peft", "bitsandbytes", "wandb", "lomo_optim")
"""Libraries that others load wherever they are installed; a rank that is not asked for them does without."""
ASKING = ("peft", "quantization", "paged_", "ademamix", "_bnb", "lomo")
"""Words of a rank that is asked for them (heirloom.rank): it begins cold where the others were loaded without."""
SHARDING = "deepspeed"
"""What a rank loads that is asked for it, which its words or its config then name."""
TYPED = ("snakemake", "dvc")
"""Programs that users type, beside `python`."""
OF_SHARDING = (
    "setuptools", "torch.utils.cpp_extension", SHARDING, "deepspeed.ops.op_builder.all_ops", "deepspeed.module_inject",
)  # fmt: skip
"""What that loads in its turn, at the latest when it makes an engine."""
OWNER = "WARM_START_OWNER"
"""Variable with the process that a server ends with."""
CLIENT = Path(__file__).with_name("warm_client.py")
OF_RANKS = (
    ("datasets", "peft", "torch")
    + ("transformers:AutoConfig,LlamaForCausalLM,PreTrainedTokenizerFast,Trainer", "trl:DPOTrainer,SFTTrainer")
)  # fmt: skip
"""Libraries of trainings: modules, each with what is to be had from it."""
OF_EACH_RANK = (
    "datasets", "accelerate", "torch",
    "transformers:AutoConfig,AutoModelForCausalLM,AutoTokenizer,LlamaForCausalLM,PreTrainedTokenizerFast,Trainer",
)  # fmt: skip
"""Libraries that every rank loads, whatever it does: a model's card, which names those loaded, is as without them."""
OF_THE_WORKFLOW = (
    ("snakemake.cli", "snakemake.workflow", "snakemake.dag", "snakemake.scheduling.job_scheduler", "dvc.cli.parser")
    + ("dvc.repo", "dvc.commands.status", "dvc.commands.repro", "pandas", "jinja2", "boto3", "s3fs", "ruamel.yaml")
    + ("pydantic", "snakemake.logging", "snakemake.api", "snakemake.report.html_reporter", "snakemake.profiles")
    + ("dvc.repo.reproduce", "dvc.repo.status", "dvc.repo.index", "dvc.stage.loader", "dvc.dvcfile", "dvc.cachemgr")
    + ("dvc.config_schema", "dvc.rwlock", "dvc_render", "scmrepo.git", "networkx", "requests", "smart_open", "filelock")
    + ("platformdirs", "configobj", "flatten_dict", "difflib", "rich.console", "rich.table", "rich.markup", "rich.tree")
    + ("dvc.repo.stage", "dvc.repo.metrics", "dvc.repo.params", "dvc.repo.plots", "dvc.repo.artifacts")
    + ("dvc.repo.datasets", "dvc.repo.graph", "dvc.data_cloud", "dvc.utils.strictyaml", "dulwich.worktree")
)  # fmt: skip
"""Libraries of what a user types: Snakemake, DVC, the ledger."""
OF_STAGES = ("torch.distributed.run", *OF_RANKS)
"""Libraries of all programs of stages, torchrun among them."""


def variables_of_ranks() -> dict[str, str]:
    """Return this process's variables with those that the launcher gives to ranks on CPUs."""
    from heirloom.launcher.environment import CPU_RANKS, QUIET, RANKS, REPRODUCIBLE

    return {**os.environ, **QUIET, **REPRODUCIBLE, **RANKS, **CPU_RANKS}


@functools.cache
def warm_programs(libraries: tuple[str, ...] = OF_RANKS, own: tuple[tuple[str, str], ...] = ()) -> "WarmStart":
    """Return the warm start of programs that train and answer, one for all tests that want the same.

    `own`: variables beside the usual ones that libraries read as they are loaded.
    """
    return WarmStart(variables_of_ranks() | dict(own), (*libraries, "ruamel.yaml", *OF_SHARDING)).shared(str(own))


def warm_ranks(libraries: tuple[str, ...] = OF_RANKS) -> dict[str, str]:
    """Return the variable that lets torchrun take its ranks from a warm start, one for all tests."""
    return {"PYTHON_EXEC": str(warm_programs(libraries).programs / "python")}


@functools.cache
def warm_workflow(*more: str) -> Path:
    """Return a folder with `python`, `snakemake` and `dvc` of a warm start, one for all tests.

    `more`: libraries of the programs that these start: of stages, of torchrun.
    """
    from heirloom.launcher.environment import QUIET, REPRODUCIBLE

    stages = {**QUIET, **REPRODUCIBLE} if more else {}
    return WarmStart({**os.environ, **stages}, (*OF_THE_WORKFLOW, *more), nested=True).shared().programs


@functools.cache
def warm_stages() -> Path:
    """Return a folder with `python` of a warm start whose programs, and what these start, are those of stages.

    Without Snakemake, which loads plugins of this repository: a stage that runs here would be told that it has them.
    """
    return WarmStart(variables_of_ranks(), (*OF_STAGES, "ruamel.yaml", *OF_SHARDING), nested=True).shared().programs


def warm_environment(*libraries: str) -> Path:
    """Return what `make VENV=` takes for the environment of these tests; its Python begins with `libraries` loaded."""
    programs = warm_workflow(*libraries)
    with one_at_a_time():
        for there in (*Path(sys.executable).parent.iterdir(), *Path(sys.prefix).iterdir()):
            here = programs / there.name if there.parent.name == "bin" else programs.parent / there.name
            if there.is_file() and not here.exists():  # other programs, and what make notes of an installation
                here.symlink_to(there) if here.parent == programs else here.touch()
    return programs.parent


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let pytest's other workers wait meanwhile."""
    with CLIENT.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class WarmStart:
    """Programs have the variables of `environment`; see `shared`.

    `nested`: to a program its Python is the warm one, so that what it starts begins warm too.
    """

    def __init__(
        self, environment: dict[str, str], libraries: tuple[str, ...] = OF_RANKS, *, nested: bool = False
    ) -> None:
        self.environment = environment
        self.arguments = ["nested" if nested else "alone", *libraries]

    def under(self, environment: dict[str, str]) -> "WarmStart":
        """Return this warm start for programs that have the variables of another environment."""
        other = copy.copy(self)
        other.environment = environment
        return other

    def shared(self, name: str = "") -> "WarmStart":
        """Be the warm start of this name and these libraries that all workers of this pytest have; it ends with it."""
        pytest = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
        session = os.environ.get("PYTEST_XDIST_TESTRUNUID", os.urandom(16).hex())
        kind = hashlib.sha256(" ".join([name, *self.arguments]).encode()).hexdigest()[:8]
        self.folder = Path(f"/tmp/warm-{session}-{kind}")
        with one_at_a_time():
            if not self.folder.exists():
                self.folder.mkdir(mode=0o700)
                self.start(pytest)
        return self

    def start(self, owner: int) -> None:
        """Start the server, in a folder with a short name: a socket's path has at most 107 bytes.

        When the process `owner` has ended, it ends too and removes the folder.
        """
        self.programs.mkdir()
        for name, *words in (("python",), *((name, str(Path(sys.executable).with_name(name))) for name in TYPED)):
            program = self.programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join([*self.python, *words])} "$@"\n')
            program.chmod(0o755)
        command = [sys.executable, __file__, self.place, *self.arguments]
        environment = self.environment | {OWNER: str(owner), "HF_HOME": str(self.folder / "hf")}
        self.server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.server.stdout.readline() == b"ready\n"

    @property
    def place(self) -> str:
        return str(self.folder / "socket")

    @property
    def programs(self) -> Path:
        """The folder of `python`, `snakemake` and `dvc` that begin warm."""
        return self.folder / "bin"

    @property
    def python(self) -> list[str]:
        """What stands for `python` before PROGRAM OPTIONS; folder, variables and streams are the typing one's."""
        return [sys.executable, "-I", "-S", str(CLIENT), self.place, sys.executable]

    def run(self, program: Path, options: list[str], log: Path, **more: str) -> int:
        """Run a program to its end, its output into `log`; return its exit code, that after signal n being -n.

        `more`: variables of its own.
        """
        with log.open("wb") as said:
            command, variables = [*self.python, str(program), *options], self.environment | more
            done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        return done.returncode


def serve(place: str, libraries: list[str]) -> None:
    """Answer such requests until the process ends that this is for."""
    gc.disable()  # to look through what imports make, again and again, takes a quarter of their time
    absent = [] if "peft" in libraries else OPTIONAL
    sys.modules.update(dict.fromkeys(absent))  # as heirloom.rank has it
    for library in libraries:
        module, _, names = library.partition(":")
        loaded = importlib.import_module(module)
        for name in filter(None, names.split(",")):
            getattr(loaded, name)
    for name in absent:
        del sys.modules[name]
    if "transformers.conversion_mapping" in sys.modules:  # a thousand regular expressions, at the first model's loading
        sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("llama")

    gc.freeze()
    gc.enable()
    owner = os.pidfd_open(int(os.environ[OWNER]))
    running: dict[int, Running] = {}  # by the descriptors of each: of its process, and of whoever asked for it
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while owner not in (found := select.select([listener, owner, *running], [], [])[0]):
            for descriptor in found:
                if descriptor is listener:
                    if program := begin(listener.accept()[0], [listener.fileno(), owner, *running]):
                        running |= dict.fromkeys(program.descriptors, program)
                elif descriptor in running:  # and not ended by the other of its two just now
                    program = running[descriptor]
                    for each in program.descriptors:
                        del running[each]
                    program.end(by_itself=descriptor == program.ended)
        for program in set(running.values()):
            program.end(by_itself=False)
    shutil.rmtree(Path(place).parent)


@dataclass(eq=False)
class Running:
    """A program that runs: its process, a descriptor that is readable once it has ended, and who asked for it."""

    process: int
    ended: int
    asked: socket.socket

    @property
    def descriptors(self) -> tuple[int, int]:
        """What is readable when the program has ended, or whoever asked, who says nothing more."""
        return self.ended, self.asked.fileno()

    def end(self, *, by_itself: bool) -> None:
        """Tell the exit code of the program, which is killed where it has not ended by itself."""
        if not by_itself:
            os.kill(self.process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        with contextlib.suppress(OSError):
            self.asked.sendall(f"{code}\n".encode())
        os.close(self.ended)
        self.asked.close()


def begin(asked: socket.socket, ours: list[int]) -> Running | None:
    """Begin the program that is asked for in a process of its own, and tell its number; None where nobody asks now.

    `ours`: descriptors of the server, which the program does not have.
    """
    streams: list[int] = []
    try:
        size, streams, *_ = socket.recv_fds(asked, 8, 3)
        words, folder, variables = json.loads(asked.makefile("rb").read(int.from_bytes(size, "big")))
    except (OSError, ValueError):  # killed while it asked
        for descriptor in (*streams, asked.detach()):
            os.close(descriptor)
        return None
    process = os.fork()
    if process == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for descriptor in (*streams, *ours, asked.detach()):
            os.close(descriptor)
        open_streams()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        become(words)
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(OSError):
        asked.sendall(f"{process}\n".encode())
    return Running(process, os.pidfd_open(process), asked)


def open_streams() -> None:
    """Open standard input, output and error as Python does when it begins."""
    out = -1 if not os.isatty(1) else 1
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=out, closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def become(words: list[str]) -> None:
    """Run a program in this process, and end with it."""
    if "peft" not in sys.argv[3:] and "torch" in sys.modules and asks_for(ASKING, words):
        os.execv(sys.executable, [sys.executable, *words])
    if SHARDING in sys.modules and Path(words[0]).parent.name == "scripts" and not asks_for((SHARDING,), words):
        for name in [name for name in sys.modules if name.partition(".")[0] == SHARDING]:
            del sys.modules[name]  # a model's card names what is loaded
    if sys.argv[2] == "nested":
        sys.executable = str(Path(sys.argv[1]).with_name("bin") / "python")
    sys.modules.pop("__mp_main__", None)  # this file, which is no module of the program's
    own = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[1:1] = own
    code = 0
    try:
        if words[0] == "-m":
            sys.argv, sys.path[0] = words[1:], os.getcwd()
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            program = str(Path(words[0]).absolute())
            sys.argv, sys.path[0] = [program, *words[1:]], str(Path(program).parent)
            runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        atexit._run_exitfuncs()  # as at the end of a process of its own: trackers write their last lines then
        sys.stdout.flush()
        os._exit(code)


def asks_for(libraries: tuple[str, ...], words: list[str]) -> bool:
    """Tell whether a program's words, or the file after its `--config`, have one of those for `libraries`."""
    config = next((after for flag, after in zip(words, words[1:], strict=False) if flag == "--config"), "")
    text = " ".join(words)
    if Path(config).is_file():
        text += Path(config).read_text(encoding="utf-8", errors="replace")
    return any(library in text for library in libraries)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[3:])
