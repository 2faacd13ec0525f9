"""A real Slurm of three nodes on this machine, on the loopback only, without slurmdbd: n1, n2 and a spare, n3.

Debian's Slurm can run several node daemons on one host. Nothing needs root; munge has a key and a socket of its own.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NODES = ("n1", "n2", "n3")
PROGRAMS = ("slurmctld", "slurmd", "srun", "sbatch", "scontrol", "squeue", "munged")
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
MinJobAge=3600
KillWait=3
SlurmctldTimeout=30
SlurmdTimeout=30
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmdParameters=config_overrides
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=4 RealMemory=32000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes=n3 MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no Slurm can be started here, None where it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if missing:
        return f"no {', '.join(missing)} here; on Debian: apt-get install slurm-wlm munge"
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        addresses = set()
    if not addresses or not all(address.startswith("127.") for address in addresses):
        return f"the host's name must be one of the loopback in /etc/hosts: 127.0.0.1 {socket.gethostname()}"
    return None


class Cluster:
    """Use as a context manager; nothing of it is left when the block ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has 107 characters
        self.bin = self.folder / "bin"
        self.environment = {"SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> None:
        for name in ("etc", "bin", "state", "log", "run", "munge", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir(mode=0o700)
        port = free_ports(1 + len(NODES))
        facts = {"host": socket.gethostname().partition(".")[0], "user": user(), "folder": self.folder}
        conf = self.folder / "etc" / "slurm.conf"
        conf.write_text(CONF.format(port=port, first=port + 1, last=port + len(NODES), **facts))
        for name in ("srun", "squeue", "scontrol"):  # the plugin's jobs lose SLURM_CONF; a real one is in /etc/slurm
            command = self.bin / name
            command.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which(name, path=PATH)} "$@"\n')
            command.chmod(0o755)
        self.start_munge()
        self.run("slurmctld", "-c")
        self.wait_for(lambda: "is UP" in self.run("scontrol", "ping", check=False))
        for node in NODES:
            self.start_node(node)
        self.wait_for(lambda: self.run("sinfo", "--noheader", "--Node", "--states", "idle").count("main") == len(NODES))

    def start_munge(self) -> None:
        folder = self.folder / "munge"
        (folder / "key").write_bytes(os.urandom(64))
        (folder / "key").chmod(0o600)
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        self.run("munged", "--force", "--num-threads=2", *options)  # force: others cannot reach its socket

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def lose(self, node: str) -> None:
        """Let a node vanish as in a power cut: its daemon and every process of every job on it, by SIGKILL.

        Bring it back by `start_node` when its job has ended: Slurm may tell it late to end what it did before.
        """
        kill(int((self.folder / "run" / f"{node}.pid").read_text()))
        tasks = [process for process in self.processes() if variable(process, "SLURMD_NODENAME") == node]
        for parent in {parent_of(process) for process in tasks}:
            if name_of(parent) == "slurmstepd":
                kill(parent)
        for process in tasks:
            kill(process)

    def run(self, *command: str, check: bool = True) -> str:
        """Return what one of Slurm's commands prints; fail with its output when it does not end with 0."""
        environment = {**os.environ, "PATH": PATH, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that Slurm remembers."""
        listing = self.run("squeue", "--noheader", "--states", "all", "--format", "%i %T")
        return dict(line.split() for line in listing.splitlines())

    def running_job(self) -> str:
        """Return the only job that runs."""
        (job,) = (job for job, state in self.jobs().items() if state == "RUNNING")
        return job

    def wait_for(self, condition, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited too long; {self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        """Return the end of the daemons' logs, for the message of a test that fails."""
        files = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"{file.name}:\n{file.read_text()[-1500:]}" for file in files)

    def processes(self) -> list[int]:
        """Return the processes of all jobs: those with this cluster's folder in their environment."""
        mark = os.fsencode(self.folder)
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdecimal() and mark in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def stop(self) -> None:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.run("scancel", "--user", user(), check=False)
            self.wait_for(lambda: not self.run("squeue", "--noheader", check=False), seconds=15)
        daemons = [*(self.folder / "run").glob("*.pid"), *(self.folder / "munge").glob("pid")]
        for process in {*(int(file.read_text()) for file in daemons), *self.processes()}:
            kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def free_ports(count: int) -> int:
    """Return the first of `count` ports of the loopback that follow each other and are free."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            sockets[0].bind(("127.0.0.1", 0))
            first = sockets[0].getsockname()[1]
            for offset in range(1, count):
                sockets[offset].bind(("127.0.0.1", first + offset))
            return first


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def variable(process: int, name: str) -> str | None:
    """Return an environment variable that a process began with."""
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    mark = f"{name}=".encode()
    return next((value.removeprefix(mark).decode() for value in variables if value.startswith(mark)), None)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def name_of(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()
