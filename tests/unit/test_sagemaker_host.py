"""Which hosts the launcher finds in a training job, and what it makes of how they end.

Ranks on real hosts are tests/sagemaker/.
"""

import json
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from heirloom.launcher import gpus
from heirloom.launcher.command import Program
from heirloom.launcher.environment import for_program
from heirloom.launcher.hosts import coordination
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.hosts.coordination import LaunchRequest, WorkerHosts, request_from, wait_for_head
from heirloom.launcher.hosts.detection import LocalHost, this_host
from heirloom.launcher.hosts.sagemaker import SageMakerHost
from heirloom.launcher.ledger import Stage
from heirloom.launcher.processes import NO_PEERS, Outcome
from heirloom.launcher.ranks import Ranks, free_port
from heirloom.launcher.work import WorkFolder

SECRET = b"a secret of the job, of 32 bytes"
NAMES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
PROGRAM = Program("torchrun", Path("scripts/sft_train.py"), ("--output", "x"))
REQUEST = LaunchRequest(PROGRAM, Stage("train-x", "a" * 64), Ranks(3, 8, "gpu"), commit="abc", port=4321)


@pytest.fixture(autouse=True)
def port_of_this_test(monkeypatch) -> None:
    monkeypatch.setattr(coordination, "PORT", free_port("127.0.0.1"))


def in_job(monkeypatch, names: tuple[str, ...], number: int, secret: Path) -> None:
    """Set what the container entry sets."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SNAKEMAKE_SAGEMAKER_SECRET_FILE", str(secret))
    variables = {"SM_HOSTS": json.dumps(names), "SM_HOST_COUNT": str(len(names)), "SM_CURRENT_HOST_RANK": str(number)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_hosts_are_those_of_the_job_and_one_alone_is_a_machine_like_any_other(monkeypatch, tmp_path):
    in_job(monkeypatch, ("algo-1",), 0, tmp_path / "none")
    assert isinstance(this_host(), LocalHost)
    (tmp_path / "secret").write_bytes(SECRET)
    in_job(monkeypatch, ("algo-1", "algo-2"), 1, tmp_path / "secret")
    host = this_host()
    assert isinstance(host, SageMakerHost) and (host.names, host.number) == (("algo-1", "algo-2"), 1)
    assert host.secret == SECRET and "secret" not in repr(host)


@pytest.mark.parametrize("secret", [None, b"", b"guessed"])
def test_several_hosts_without_a_secret_are_refused(monkeypatch, tmp_path, secret):
    if secret is not None:
        (tmp_path / "secret").write_bytes(secret)
    in_job(monkeypatch, ("algo-1", "algo-2"), 1, tmp_path / "secret")
    with pytest.raises(HeirloomError, match="SECRET_FILE names no file with a secret .* build the image again"):
        this_host()


@pytest.mark.parametrize(
    ("count", "gpus", "expected"),
    [(2, 8, Ranks(2, 8, "gpu")), (3, 4, Ranks(3, 4, "gpu")), (2, 0, Ranks(2, 1, "cpu"))],
)
def test_ranks_are_one_a_gpu_of_every_host_or_two_cpu_ranks_in_total(count, gpus, expected):
    host = SageMakerHost(tuple(f"algo-{number}" for number in range(1, count + 1)), 0, gpus, SECRET)
    assert host.ranks("torchrun") == expected
    assert host.ranks("python") == Ranks(1, 1, expected.device)


def test_a_job_that_asks_for_efa_does_not_begin_in_an_image_without_it(monkeypatch, tmp_path):
    host = SageMakerHost(("algo-1", "algo-2"), 0, 8, SECRET)
    monkeypatch.setattr(gpus, "EFA_FOLDERS", (str(tmp_path),))
    assert host.ranks("torchrun") == Ranks(2, 8, "gpu")
    monkeypatch.setenv("FI_PROVIDER", "efa")
    with pytest.raises(HeirloomError, match="has no NCCL plugin for EFA: the 2 hosts would talk over TCP"):
        host.ranks("torchrun")
    assert host.ranks("python") == Ranks(1, 1, "gpu")
    (tmp_path / "libnccl-net-ofi.so").touch()
    with pytest.raises(
        HeirloomError, match=r"cannot load its NCCL plugin for EFA, .*/libnccl-net-ofi.so \(OSError: lib"
    ):
        host.ranks("torchrun")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, for libraries that can be loaded")
def test_a_plugin_of_another_name_is_told_to_nccl(monkeypatch, tmp_path):
    for name in ("libcudart.so", "libnccl-net-ofi.so"):
        empty = ("gcc", "-shared", "-x", "c", "/dev/null", "-o", str(tmp_path / name))
        subprocess.run(empty, check=True)
    monkeypatch.setattr(gpus, "EFA_FOLDERS", (str(tmp_path),))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert gpus.efa_variables() == {}  # nobody has asked for EFA
    monkeypatch.setenv("FI_PROVIDER", "efa")
    host = SageMakerHost(("algo-1", "algo-2"), 0, 8, SECRET)
    ranks = host.ranks("torchrun")
    given = for_program("torchrun", ranks, WorkFolder(tmp_path), None, None)
    assert given["NCCL_NET_PLUGIN"] == "ofi"
    monkeypatch.setenv("NCCL_NET_PLUGIN", "mine")
    assert "NCCL_NET_PLUGIN" not in for_program("torchrun", ranks, WorkFolder(tmp_path), None, None)


def test_hosts_that_cannot_share_two_cpu_ranks_are_refused():
    with pytest.raises(HeirloomError, match="has 3 hosts without a GPU: .* set resources.instance_count to 1 or 2"):
        SageMakerHost(("algo-1", "algo-2", "algo-3"), 0, 0, SECRET).ranks("torchrun")


def test_each_host_starts_its_own_ranks_which_meet_at_the_head():
    head, other = (SageMakerHost(("algo-1", "algo-2"), number, 8, SECRET, told=4321) for number in (0, 1))
    commands = [" ".join(host.command(PROGRAM, host.ranks("torchrun"))) for host in (head, other)]
    for number, command in enumerate(commands):
        meeting = "--rdzv-backend static --master-addr algo-1 --master-port 4321 scripts/sft_train.py --output x"
        assert command.endswith(f"--node-rank {number} --nnodes 2 --nproc-per-node 8 {meeting}")
    with head.start_workers(
        LaunchRequest(Program("python", PROGRAM.script, ()), REQUEST.stage, Ranks(1, 1, "gpu"), None)
    ) as peers:
        assert peers is NO_PEERS  # a single process stays on the head
    assert head.signal_to_forward(signal.SIGTERM) == signal.SIGTERM


def test_a_request_arrives_as_it_was_sent_and_holds_no_variables():
    facts = json.loads(json.dumps(REQUEST.facts()))
    assert request_from(facts, "train-x", PROGRAM) == REQUEST
    assert facts.keys() == {"program", "stage", "ranks", "commit", "port"}


class Workers:
    """The other hosts, in threads."""

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.threads = [threading.Thread(target=self.join, args=(name,)) for name in NAMES[1:]]
        for thread in self.threads:
            thread.start()

    def join(self, name: str) -> None:
        request, self.connections[name] = wait_for_head(NAMES[0], name, "train-x", PROGRAM, SECRET)
        assert request == REQUEST

    def end(self, *outcomes: tuple[int, str]) -> None:
        for name, (code, error) in zip(NAMES[1:], outcomes, strict=True):
            self.connections[name].send("exited", exit_code=code, error=error)


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (Outcome(0), [(0, ""), (0, "")], Outcome(0)),
        (Outcome(1, "Connection reset by peer"), [(0, ""), (7, "no rows")], Outcome(7, "127.0.0.3: no rows")),
        (Outcome(7, "no rows"), [(1, "Connection closed by peer")] * 2, Outcome(7, "no rows")),
        (Outcome(0), [(0, ""), (1, "no rows")], Outcome(1, "127.0.0.3: no rows")),
        (Outcome(1, "rank 0 waited 5 s for another rank in vain"), [(0, ""), (9, "no")], Outcome(9, "127.0.0.3: no")),
        (
            Outcome(143, "stopped by SIGTERM at step 3 of 9"),
            [(143, "stopped by SIGTERM; started again, it goes on")] * 2,
            Outcome(143, "stopped by SIGTERM at step 3 of 9"),
        ),
    ],
)
def test_the_first_real_error_of_any_host_is_that_of_the_stage(own, others, expected):
    waiting = Workers()
    with WorkerHosts(NAMES[0], NAMES[1:], REQUEST, SECRET) as peers:
        for thread in waiting.threads:
            thread.join()
        waiting.end(*others)
        assert peers.combined_outcome(own) == expected
        for connection in waiting.connections.values():
            assert connection.receive(10) == {"event": "finished", "success": expected.exit_code == 0}


def test_a_host_that_vanishes_is_the_reason():
    waiting = Workers()
    with WorkerHosts(NAMES[0], NAMES[1:], REQUEST, SECRET) as peers:
        for thread in waiting.threads:
            thread.join()
        waiting.connections["127.0.0.3"].close()
        waiting.connections["127.0.0.2"].send("exited", exit_code=1, error="Connection reset by peer")
        assert peers.combined_outcome(Outcome(1, "Connection closed by peer")) == Outcome(
            1, "127.0.0.3: the host was lost: no sign of life from 127.0.0.3"
        )


def test_only_hosts_that_wait_for_this_stage_are_let_in():
    waiting = threading.Thread(target=wait_for_head, args=(NAMES[0], NAMES[1], "train-x", PROGRAM, SECRET), daemon=True)
    with socket.create_server((NAMES[0], coordination.PORT)) as server:  # before the head listens
        waiting.start()
        server.accept()[0].close()
    for hello in ({"host": "127.0.0.9", "stage": "train-x"}, {"host": NAMES[1], "stage": "train-y"}):
        threading.Thread(target=knock, args=(hello,), daemon=True).start()
    joined = coordination.accept_workers(NAMES[0], NAMES[1:2], "train-x", SECRET)
    assert list(joined) == [NAMES[1]]
    joined[NAMES[1]].send("released")
    waiting.join(10)
    assert not waiting.is_alive()


def knock(hello: dict[str, str]) -> None:
    while True:
        try:
            connected = socket.create_connection((NAMES[0], coordination.PORT), timeout=5)
        except OSError:
            continue
        connection = Connection(connected, SECRET, is_head=False)
        assert connection.greet(10)
        connection.send("join", **hello)
        assert connection.receive(10) is None
        return
