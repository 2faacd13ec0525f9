"""A Python that has imported the heavy libraries once and forks a process for each program that it is told to run.

Several benchmarks begin with the same four seconds of imports. Each still runs as `python PROGRAM OPTIONS` does: its
own process, its own folder first on sys.path, none of this repository's modules imported before.
"""

import json
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path


class WarmStart:
    """Use as a context manager; programs have the variables of `environment`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __enter__(self) -> "WarmStart":
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_) -> None:
        self.server.stdin.close()
        self.server.wait()

    def run(self, program: Path, options: list[str], log: Path) -> int:
        """Run a program to its end, its output into `log`; return its exit code, that after signal n being -n."""
        self.server.stdin.write(json.dumps([str(program), options, str(log)]) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


def serve() -> None:
    import datasets  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: F401

    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            become(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def become(program: str, options: list[str], log: str) -> None:
    """Run a program in this process, and end with it."""
    for number, file, mode in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(file, mode), number)
    os.dup2(1, 2)
    sys.argv, sys.path[0] = [program, *options], str(Path(program).parent)
    code = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
