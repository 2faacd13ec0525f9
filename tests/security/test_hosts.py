"""Who connects to the head of a training job, or answers in its place, gets nothing run and keeps nobody waiting."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from heirloom.launcher.command import Program
from heirloom.launcher.hosts import coordination
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.hosts.coordination import HeadHost, LaunchRequest, WorkerHosts, accept_workers, request_from
from heirloom.launcher.ledger import Stage
from heirloom.launcher.processes import Outcome
from heirloom.launcher.ranks import Ranks, free_port

HEAD, WORKER = "127.0.0.1", "127.0.0.2"
PROGRAM = Program("torchrun", Path("scripts/sft_train.py"), ("--output", "x"))
REQUEST = LaunchRequest(PROGRAM, Stage("train-x", "a" * 64), Ranks(2, 8, "gpu"), commit="abc", port=4321)
ODD = {
    "a list": b"[1]\n",
    "a number": b"7\n",
    "nothing": b"\n",
    "no event": b"{}\n",
    "an event that is none": b'{"event": 3}\n',
    "deep": b"[" * 200_000 + b"\n",
    "a long number": b'{"event": ' + b"9" * 5000 + b"}\n",
    "no UTF-8": b"\xff\xfe\n",
    "a host that is none": b'{"event": "join", "host": ["127.0.0.2"], "stage": {}}\n',
    "a long line": b'{"event": "join", "host": "' + b"x" * 5_000_000 + b'"}\n',
}


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(coordination, "PORT", free_port(HEAD))
    return coordination.PORT


def connected(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection((HEAD, port), timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.01)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection."""
    with socket.create_server((HEAD, 0)) as server:
        other = socket.create_connection(server.getsockname())
        return server.accept()[0], other


def send(to: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it was hung up on
        to.sendall(data)


def test_who_says_nothing_or_anything_else_keeps_no_host_waiting(port: int) -> None:
    """The attacks: four bytes ended the head, a byte every three seconds held it up for ever, one after another."""
    joined: dict[str, Connection] = {}
    accepting = threading.Thread(target=lambda: joined.update(accept_workers(HEAD, (WORKER,), "train-x")))
    accepting.start()
    strangers = [connected(port) for _ in range(3 * coordination.MOST_UNKNOWN)]  # silent ones, more than are heard
    for stranger in strangers[::2]:
        stranger.close()
    strangers += [connected(port) for _ in ODD]
    for stranger, data in zip(strangers[-len(ODD) :], ODD.values(), strict=True):
        send(stranger, data)
    began = time.monotonic()
    while accepting.is_alive() and time.monotonic() - began < 30:  # as the worker does: until it is taken
        worker = Connection(connected(port))
        worker.send("join", host=WORKER, stage="train-x")
        accepting.join(0.5)
    assert list(joined) == [WORKER]
    assert time.monotonic() - began < 20
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_event_ends_a_connection_and_nothing_else(name: str) -> None:
    ours, theirs = pair()
    threading.Thread(target=send, args=(theirs, ODD[name]), daemon=True).start()
    found = Connection(ours).receive(5, coordination.MAX_HELLO_BYTES)
    assert found is None or name == "a host that is none"
    ours.close()
    theirs.close()


def test_a_slow_byte_is_not_waited_for_longer_than_silence() -> None:
    ours, theirs = pair()

    def trickle() -> None:
        for _ in range(100):
            send(theirs, b"{")
            time.sleep(0.1)

    threading.Thread(target=trickle, daemon=True).start()
    began = time.monotonic()
    assert Connection(ours).receive(0.5) is None
    assert time.monotonic() - began < 2
    ours.close()


HARMS = {
    "another program": {"program": {"kind": "python", "script": "-c", "arguments": ["print(1)"]}},
    "other arguments": {
        "program": {"kind": "torchrun", "script": "scripts/sft_train.py", "arguments": ["--output", "y"]}
    },
    "another stage": {"stage": {"name": "train-y", "identity": "a" * 64, "products": []}},
    "a path as identity": {"stage": {"name": "train-x", "identity": "../" * 20 + "abcd", "products": []}},
    "too much of a stage": {"stage": {"name": "train-x", "identity": None, "products": [], "more": 1}},
    "no ranks": {"ranks": {"nodes": "2", "per_node": 8, "device": "gpu"}},
    "ranks without end": {"ranks": {"nodes": 2, "per_node": 1 << 40, "device": "gpu"}},
    "a port that is none": {"port": "4321; true"},
    "a commit that is none": {"commit": ["abc"]},
    "a list": {"program": [1]},
}


@pytest.mark.parametrize("name", HARMS)
def test_a_false_head_gets_nothing_run(name: str) -> None:
    """The attack: `go` with the script `-c` ran it, with the job's tokens in its environment."""
    facts = json.loads(json.dumps(REQUEST.facts()))
    assert request_from(facts, "train-x", PROGRAM) == REQUEST
    assert request_from({**facts, **HARMS[name]}, "train-x", PROGRAM) is None
    for missing in facts:
        assert request_from({key: facts[key] for key in facts if key != missing}, "train-x", PROGRAM) is None


class Running:
    """Stands for a program that runs, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def forward_signal(self, number: int) -> None:
        self.told.append(number)

    def kill(self) -> None:
        self.told.append("kill")


@pytest.mark.parametrize("number", [9, 0, -1, "15", None, [15], 64])
def test_a_head_sends_no_signal_but_those_that_end_a_training(number: object) -> None:
    ours, theirs = pair()
    running, head = Running(), HeadHost(Connection(ours))
    head.started(running)
    other = Connection(theirs)
    other.send("signal", number=number)
    other.send("signal", number=15)
    other.send("finished", success="yes")
    assert head.combined_outcome(Outcome(0)) == Outcome(0, "it failed on another host")
    assert running.told == [15, "kill"]


@pytest.mark.parametrize("event", [{}, {"exit_code": "0", "error": ""}, {"exit_code": 0}, {"exit_code": 1, "error": 7}])
def test_an_end_that_is_none_counts_as_a_lost_host(port: int, event: dict) -> None:
    def worker() -> None:
        connection = Connection(connected(port))
        connection.send("join", host=WORKER, stage="train-x")
        connection.receive(5)
        connection.send("exited", **event)

    threading.Thread(target=worker, daemon=True).start()
    with WorkerHosts(HEAD, (WORKER,), REQUEST) as peers:
        assert peers.combined_outcome(Outcome(0)).error.startswith("127.0.0.2: the host was lost")


def test_another_hosts_error_does_nothing_to_a_terminal(port: int) -> None:
    def worker() -> None:
        connection = Connection(connected(port))
        connection.send("join", host=WORKER, stage="train-x")
        connection.receive(5)
        connection.send("exited", exit_code=1, error="x" * 100_000 + "\x1b]52;c;ZXZpbA==\x07")

    threading.Thread(target=worker, daemon=True).start()
    with WorkerHosts(HEAD, (WORKER,), REQUEST) as peers:
        error = peers.combined_outcome(Outcome(0)).error
    assert error.isprintable() and len(error) < 3000
