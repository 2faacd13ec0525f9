"""A Python that has imported the heavy libraries once and forks a process for each program that it is told to run.

Several programs begin with the same five seconds of imports. Each still runs as `python PROGRAM OPTIONS` does: its
own process, its own folder first on sys.path, none of this repository's modules imported before. Signals to the
process that stands for it are its own, and it dies with that process.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path


@functools.cache
def warm_ranks() -> dict[str, str]:
    """Return the variable that lets torchrun take its ranks from a warm start, one for all tests of this process."""
    from heirloom.launcher.environment import CPU_RANKS, QUIET, RANKS, REPRODUCIBLE

    warm = WarmStart({**os.environ, **QUIET, **REPRODUCIBLE, **RANKS, **CPU_RANKS}).__enter__()
    atexit.register(warm.__exit__)
    program = Path(warm.folder.name, "python")
    program.write_text(f'#!/bin/sh\nexec {shlex.join(warm.python)} "$@"\n')
    program.chmod(0o755)
    return {"PYTHON_EXEC": str(program)}


class WarmStart:
    """Use as a context manager; programs have the variables of `environment`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __enter__(self) -> "WarmStart":
        self.folder = tempfile.TemporaryDirectory(prefix="torch-", dir="/tmp")  # a socket's path has at most 107 bytes
        self.place = f"{self.folder.name}/socket"
        command = [sys.executable, __file__, "--serve", self.place]
        self.server = subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.server.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stdin.close()
        self.server.wait()
        self.folder.cleanup()

    @property
    def python(self) -> list[str]:
        """What stands for `python` before PROGRAM OPTIONS; folder, variables and streams are the typing one's."""
        return [sys.executable, "-I", "-S", __file__, self.place]

    def run(self, program: Path, options: list[str], log: Path) -> int:
        """Run a program to its end, its output into `log`; return its exit code, that after signal n being -n."""
        with log.open("wb") as said:
            command = [*self.python, str(program), *options]
            done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        return done.returncode


def ask(place: str, program: str, options: list[str]) -> int:
    """Let the server run a program with this process's folder, variables and streams; return its exit code.

    This process ends by the signal that has ended the program.
    """
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        request = json.dumps([str(Path(program).absolute()), options, str(Path.cwd()), dict(os.environ)]).encode()
        socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(request)
        answers = server.makefile()
        process = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, lambda received, _: os.kill(process, received))
        code = int(answers.readline() or 1)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code


def serve(place: str) -> None:
    """Answer such requests until standard input ends."""
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer  # noqa: F401
    from trl import DPOTrainer, SFTTrainer  # noqa: F401

    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            asked, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(asked)
            asked.close()


def answer(asked: socket.socket) -> None:
    """Run the program that is asked for in a process of its own, tell its exit code, and end."""
    size, streams, *_ = socket.recv_fds(asked, 8, 3)
    program, options, folder, variables = json.loads(asked.makefile("rb").read(int.from_bytes(size, "big")))
    process = os.fork()
    if process == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for stream in streams:
            os.close(stream)
        asked.close()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        become(program, options)
    asked.sendall(f"{process}\n".encode())
    ended = os.pidfd_open(process)
    if ended not in select.select([ended, asked], [], [])[0]:  # whoever asked is gone, and says nothing any more
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(OSError):
        asked.sendall(f"{code}\n".encode())
    os._exit(0)


def become(program: str, options: list[str]) -> None:
    """Run a program in this process, and end with it."""
    sys.argv, sys.path[0] = [program, *options], str(Path(program).parent)
    sys.modules.pop("__mp_main__", None)  # this file, which is no module of the program's
    code = 0
    try:
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


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        words = [word for number, word in enumerate(sys.argv[2:]) if number or word != "-u"]  # as torchrun asks
        sys.exit(ask(sys.argv[1], words[0], words[1:]))
