"""The hosts of one attempt of a job, as the owner sees them: start, signal, exit codes, the end."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from .kinds import HostKind

_HERE = Path(__file__).parent
_NAMESPACES = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


@functools.cache
def namespaces() -> tuple[str, ...] | None:
    """The command that enters new namespaces in which all that a host needs works; None where there is none.

    A user namespace needs no privilege. Root can do without, and is better off: inside of one, a folder in which others
    have mounted something can't get the layer that a host's /tmp needs.
    """
    if not sys.platform.startswith("linux") or not shutil.which("unshare") or not shutil.which("ip"):
        return None
    as_user = ["--user", "--map-root-user"]
    for user in ([], as_user) if os.geteuid() == 0 else (as_user,):
        command = ("unshare", *user, *_NAMESPACES, "--")
        if shutil.which("setpriv"):
            # the sandbox also ends when its owner was killed while another process held the pipe to it open
            command = ("setpriv", "--pdeathsig", "KILL", "--", *command)
        trial = subprocess.run([*command, *_program("sandbox_root.py"), "--probe"], capture_output=True, timeout=60)
        if trial.returncode == 0:
            return command
    return None


def _program(name: str) -> list[str]:
    return [sys.executable, "-E", "-s", str(_HERE / name)]


def start_janitor(folder: Path, kind: HostKind) -> subprocess.Popen:
    """The process that removes `folder` once its standard input ends, whatever happens to this one."""
    command = [*_program("janitor.py"), str(folder), kind]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def short_folder() -> Path:
    """A new folder with a short path: a Unix socket's path has at most 107 characters."""
    folder = tempfile.mkdtemp(prefix="sagemaker-")
    if len(folder) > 60:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="sagemaker-", dir="/tmp")
    return Path(folder).resolve()


class Sandbox:
    """The running hosts of one attempt.

    spec: folder (of the attempt), hosts (each name, folder, env), argv, image (that podman runs, or None), relays
    (folder), ports, hide (paths that the hosts see empty), late_names (seconds).
    """

    def __init__(self, spec: dict, kind: HostKind):
        self._spec, self._kind = spec, kind
        self.exits: dict[str, int] = {}  # in the order in which the hosts ended
        self._changed = threading.Condition()
        self._ended = False
        self._messages = Path(spec["folder"]) / "sandbox.log"

    def start(self) -> None:
        path = Path(self._spec["folder"]) / "specification.json"
        path.write_text(json.dumps(self._spec))
        if self._kind is HostKind.NAMESPACES:
            command = [*namespaces(), sys.executable, "-S", "-E", "-s", str(_HERE / "sandbox_root.py"), str(path)]
        else:
            program = "image_hosts.py" if self._kind is HostKind.IMAGE else "plain_hosts.py"
            command = [*_program(program), str(path)]
        with self._messages.open("wb") as messages:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                start_new_session=True,  # Ctrl-C in a terminal is for the controller under test
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            _, host, code = line.split()
            with self._changed:
                self.exits[host] = int(code)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until all hosts ended, at most so long; whether they did."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or len(self.exits) == len(self._spec["hosts"]), seconds)

    def terminate(self, host: str | None = None) -> None:
        """SIGTERM to the container's first process on one host or all."""
        self._send("term", host)

    def kill(self, host: str | None = None) -> None:
        """SIGKILL to all processes of one host or all."""
        self._send("kill", host)

    def cut_cable(self, host: str) -> None:
        """Take a host off the network without a word to its peers. Needs namespaces."""
        self._send("cut", host)

    def _send(self, command: str, host: str | None) -> None:
        names = [host] if host else [each["name"] for each in self._spec["hosts"]]
        with contextlib.suppress(OSError):  # ended in the meantime
            for name in names:
                self._process.stdin.write(f"{command} {name}\n")
            self._process.stdin.flush()

    def messages(self) -> str:
        """What the sandbox itself (not the containers) printed."""
        return self._messages.read_text(errors="replace").strip()

    def close(self) -> None:
        """End every process of every host and wait for it."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            # in a namespace, killing the first process takes the rest with it
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._process.stdout.close()
