"""One host of a job's sandbox: a program, run by `sandbox_root.py` in new network, mount and UTS namespaces.

It makes the namespaces look like a SageMaker instance (eth0, host name, /etc/hosts, /opt/ml, a /tmp of its own), then
runs the container's command as PID 1 of one more PID namespace, as docker does: a signal that the command does not
handle is ignored, and when the command ends, everything that it started is killed.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time

from relay import RelayEntrance
from sandbox_root import NETWORK, overlay, run

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Host:
    def __init__(self, spec: dict, name: str):
        self.spec, self.name = spec, name
        self.names = [host["name"] for host in spec["hosts"]]
        self.mine = spec["hosts"][self.names.index(name)]

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.names.index(name) + 11}"

    def prepare(self) -> list:
        """Make the namespaces a host; return what has to run in threads once the container's process is forked."""
        folder = self.mine["folder"]
        relays = os.open(self.spec["relays"], os.O_PATH | os.O_DIRECTORY)
        commands = f"link set lo up\naddr add {self.address(self.name)}/24 dev eth0\nlink set eth0 up\n"
        run("ip", "-batch", "-", text=commands)
        socket.sethostname(self.name)
        self.log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        # kept open and written in place: the file is bind-mounted, so that a new one would not be seen
        names_file = os.open(os.path.join(folder, "hosts"), os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(names_file, b"127.0.0.1 localhost\n")
        late = self.spec["late_names"]
        self.add_names(names_file, [self.name] if late else self.names)
        run("mount", "--bind", os.path.join(folder, "hosts"), "/etc/hosts")
        run("mount", "--bind", os.path.join(folder, "ml"), "/opt/ml")
        overlay("/tmp", os.path.join(self.spec["folder"], "layers", self.name), folders=("home",))
        for hidden in self.spec["hide"]:
            if os.path.isdir(hidden):
                run("mount", "-t", "tmpfs", "tmpfs", hidden)
        # by the descriptor: the path may lie below /tmp, which is another one now
        threads = [RelayEntrance(f"/proc/self/fd/{relays}", port).serve for port in self.spec["ports"]]
        if late:

            def learn_names() -> None:
                time.sleep(late)
                self.add_names(names_file, [name for name in self.names if name != self.name])

            threads.append(learn_names)
        return threads

    def add_names(self, names_file: int, names: list[str]) -> None:
        os.write(names_file, "".join(f"{self.address(name)} {name}\n" for name in names).encode())

    def start_container(self) -> tuple[int, int]:
        """Fork the container's PID 1. Returns its PID here and that of its parent, which ends with its exit code.

        The parent is a process between, because one whose children are in another PID namespace can start no threads.
        """
        reading, writing = os.pipe()
        launcher = os.fork()
        if launcher:
            os.close(writing)
            with os.fdopen(reading) as pipe:
                return int(pipe.read()), launcher
        os.close(reading)
        _check(_LIBC.unshare(_CLONE_NEWPID | _CLONE_NEWNS))
        first = os.fork()
        if first == 0:
            os.close(writing)
            self.become_container()
        os.write(writing, str(first).encode())
        os.close(writing)
        code = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        os._exit(code if code >= 0 else 128 - code)

    def become_container(self) -> None:
        """Turn this process, PID 1 of its namespace, into the container's command."""
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _check(_LIBC.mount(b"proc", b"/proc", b"proc", 0, None))
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, self.log), (2, self.log)):
            os.dup2(source, target)
        for number in (signal.SIGPIPE, signal.SIGINT):  # Python's own settings, which outlive exec
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.chdir("/tmp/home")
        argv = self.spec["argv"]
        try:
            os.execvpe(argv[0], argv, self.mine["env"])
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
            os._exit(127)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def obey(container: int) -> None:
    """Commands of the owner: term, kill, cut (the cable). The end of the input is the end of the sandbox."""
    for line in sys.stdin:
        command = line.strip()
        if command == "cut":
            run("ip", "link", "set", "eth0", "down")
        else:
            with contextlib.suppress(ProcessLookupError):  # ended in the meantime
                os.kill(container, signal.SIGTERM if command == "term" else signal.SIGKILL)
    os._exit(0)


def main(specification: str, name: str) -> None:
    with open(specification) as file:
        host = Host(json.load(file), name)
    assert sys.stdin.readline() == "connected\n"
    threads = host.prepare()
    container, launcher = host.start_container()
    for body in (*threads, lambda: obey(container)):
        threading.Thread(target=body, daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1])
    print(f"exit {name} {code}", flush=True)
    os._exit(0)  # not waiting for the relay's threads


if __name__ == "__main__":
    main(*sys.argv[1:])
