"""One host of a job's sandbox: a program, run by `sandbox_root.py` in new network, mount and UTS namespaces.

It makes the namespaces look like a SageMaker instance (eth0, host name, /etc/hosts, /opt/ml, a /tmp of its own), then
runs the container's command as PID 1 of one more PID namespace, as docker does: a signal that the command does not
handle is ignored, and when the command ends, everything that it started is killed.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from relay import listen_inside
from sandbox_root import NETWORK, overlay, run


class Host:
    def __init__(self, spec: dict, name: str):
        self.spec, self.name = spec, name
        self.names = [host["name"] for host in spec["hosts"]]
        self.mine = spec["hosts"][self.names.index(name)]
        self.container = None

    def address(self, name: str) -> str:
        return f"{NETWORK}.{self.names.index(name) + 11}"

    def write_names(self, names: list[str]) -> None:
        lines = ["127.0.0.1 localhost", *(f"{self.address(name)} {name}" for name in names)]
        # in place: the file is bind-mounted, a new file would not be seen
        with open(os.path.join(self.mine["folder"], "hosts"), "w") as file:
            file.write("\n".join(lines) + "\n")

    def prepare(self) -> None:
        folder = self.mine["folder"]
        relays = os.open(self.spec["relays"], os.O_PATH | os.O_DIRECTORY)
        commands = f"link set lo up\naddr add {self.address(self.name)}/24 dev eth0\nlink set eth0 up\n"
        run("ip", "-batch", "-", text=commands)
        socket.sethostname(self.name)
        late = self.spec["late_names"]
        self.write_names([self.name] if late else self.names)
        self.log = open(os.path.join(folder, "log"), "ab", buffering=0)  # noqa: SIM115, the container's for its life
        run("mount", "--bind", os.path.join(folder, "hosts"), "/etc/hosts")
        run("mount", "--bind", os.path.join(folder, "ml"), "/opt/ml")
        names_file = os.open(os.path.join(folder, "hosts"), os.O_WRONLY)
        overlay("/tmp", os.path.join(self.spec["folder"], "layers", self.name), folders=("home",))
        for hidden in self.spec["hide"]:
            if os.path.isdir(hidden):
                run("mount", "-t", "tmpfs", "tmpfs", hidden)
        for port in self.spec["ports"]:
            listen_inside(f"/proc/self/fd/{relays}", port)
        if late:
            threading.Thread(target=self.learn_names, args=(names_file, late), daemon=True).start()

    def learn_names(self, file: int, seconds: float) -> None:
        time.sleep(seconds)
        others = [f"{self.address(name)} {name}\n" for name in self.names if name != self.name]
        os.lseek(file, 0, os.SEEK_END)
        os.write(file, "".join(others).encode())

    def run_container(self) -> int:
        unshare = shutil.which("unshare")
        self.container = subprocess.Popen(
            [unshare, "--pid", "--fork", "--kill-child", "--mount-proc", "--", *self.spec["argv"]],
            env=self.mine["env"],
            cwd="/tmp/home",
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        threading.Thread(target=self.obey, daemon=True).start()
        code = self.container.wait()
        return code if code >= 0 else 128 - code

    def obey(self) -> None:
        """Commands of the owner: term, kill, cut (the cable)."""
        for line in sys.stdin:
            command = line.strip()
            if command == "cut":
                run("ip", "link", "set", "eth0", "down")
            else:
                self.signal(signal.SIGTERM if command == "term" else signal.SIGKILL)
        os._exit(0)

    def signal(self, number: int) -> None:
        """A signal to the container's PID 1."""
        unshare = self.container.pid
        first = None
        while first is None and self.container.poll() is None:
            try:
                with open(f"/proc/{unshare}/task/{unshare}/children") as file:
                    first = next(iter(file.read().split()), None)  # None: unshare has not forked yet
            except OSError:
                return
        if first is not None:
            try:
                os.kill(int(first), number)
            except ProcessLookupError:
                return  # ended in the meantime


def main(specification: str, name: str) -> None:
    with open(specification) as file:
        host = Host(json.load(file), name)
    assert sys.stdin.readline() == "connected\n"
    host.prepare()
    code = host.run_container()
    print(f"exit {name} {code}", flush=True)
    os._exit(0)  # not waiting for the relay's threads


if __name__ == "__main__":
    main(*sys.argv[1:])
