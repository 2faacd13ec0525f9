"""What stands for a program that a warm start runs: it asks the server, and ends as the program has ended.

    python -I -S warm_client.py SOCKET PYTHON PROGRAM OPTIONS…

PROGRAM is a script, a folder with a `__main__.py`, or `-m MODULE`. What is asked of Python itself besides (`-c`, `-I`,
another locale, a `sitecustomize.py` in PYTHONPATH), PYTHON does. It imports next to nothing: it starts in place of
every program.
"""

import json
import os
import signal
import socket
import sys

NOT_AT_START = ("PYTHONPATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHON_EXEC")
"""Variables for Python that a process which has begun already can heed as well, or that make no difference.

The last is torchrun's, which is how a rank gets here.
"""


def main() -> int:
    place, python, *words = sys.argv[1:]
    while words and words[0] == "-u":
        words = words[1:]
    if not words or (words[0].startswith("-") and words[0] != "-m") or has_own_start():
        os.execv(python, [python, *sys.argv[3:]])
    return ask(place, words)


def has_own_start() -> bool:
    """Tell whether Python would begin in another way than the server has."""
    if any(name == "LC_ALL" or (name.startswith("PYTHON") and name not in NOT_AT_START) for name in os.environ):
        return True
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return any(os.path.exists(os.path.join(folder, "sitecustomize.py")) for folder in folders if folder)


def ask(place: str, words: list[str]) -> int:
    """Let the server run a program with this process's folder, variables and streams; return its exit code.

    This process ends by the signal that has ended the program.
    """
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
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


if __name__ == "__main__":
    sys.exit(main())
