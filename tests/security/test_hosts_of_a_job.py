"""Who connects to the head of a training job, or answers in its place, gets nothing run and keeps nobody waiting."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest
from attackers import HEAD, PROGRAM, REQUEST, SECRET, pair

from heirloom.launcher.hosts import coordination
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.hosts.coordination import (
    HeadHost,
    WorkerHosts,
    accept_workers,
    release_workers,
    request_from,
    wait_for_head,
)
from heirloom.launcher.hosts.sealing import Seals
from heirloom.launcher.processes import Outcome
from heirloom.launcher.ranks import free_port

WORKER = "127.0.0.2"
ODD = {
    "a list": b"[1]\n",
    "a number": b"7\n",
    "nothing": b"\n",
    "no event": b"{}\n",
    "an event that is none": b'{"event": 3}\n',
    "deep": b"[" * 200_000 + b"\n",
    "a long number": b'{"event": ' + b"9" * 5000 + b"}\n",
    "no UTF-8": b"\xff\xfe\n",
    "a host without a seal": b'{"event": "join", "host": "127.0.0.2", "stage": "train-x"}\n',
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


def both_ends() -> tuple[Connection, Connection]:
    """Return the head's and a worker's end of a connection that know each other."""
    ours, theirs = pair()
    head, worker = Connection(ours, SECRET, is_head=True), Connection(theirs, SECRET, is_head=False)
    assert head.greet(5) and worker.greet(5)
    return head, worker


def joined_worker(port: int, secret: bytes = SECRET) -> Connection:
    """Return the end of a worker that has asked to be let in."""
    worker = Connection(connected(port), secret, is_head=False)
    worker.greet(5)
    with contextlib.suppress(AssertionError):  # it was hung up on before that
        worker.send("join", host=WORKER, stage="train-x")
    return worker


def sealed(connection: Connection, data: bytes) -> bytes:
    """Return what a connection sends as its next line, whatever it says."""
    return connection._seals.close(data.removesuffix(b"\n")) + b"\n"


def send(to: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it was hung up on
        to.sendall(data)


def test_who_says_nothing_or_anything_else_keeps_no_host_waiting(port: int) -> None:
    """The attacks: four bytes ended the head, a byte every three seconds held it up for ever, one after another."""
    joined: dict[str, Connection] = {}
    accepting = threading.Thread(target=lambda: joined.update(accept_workers(HEAD, (WORKER,), "train-x", SECRET)))
    accepting.start()
    strangers = [connected(port) for _ in range(3 * coordination.MOST_UNKNOWN)]  # silent ones, more than are heard
    for stranger in strangers[::2]:
        stranger.close()
    strangers += [connected(port) for _ in ODD]
    for stranger, data in zip(strangers[-len(ODD) :], ODD.values(), strict=True):
        send(stranger, data)
    began = time.monotonic()
    while accepting.is_alive() and time.monotonic() - began < 30:  # as the worker does: until it is taken
        joined_worker(port)
        accepting.join(0.5)
    assert list(joined) == [WORKER]
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_event_ends_a_connection_and_nothing_else(name: str) -> None:
    """Even from a host that knows the secret."""
    ours, theirs = both_ends()
    threading.Thread(target=send, args=(theirs._socket, sealed(theirs, ODD[name])), daemon=True).start()
    found = ours.receive(5, coordination.MAX_HELLO_BYTES)
    assert found is None or name.startswith("a host")
    ours.close()
    theirs.close()


def test_a_slow_byte_is_not_waited_for_longer_than_silence() -> None:
    ours, theirs = pair()

    def trickle() -> None:
        for _ in range(100):
            send(theirs, b"0")
            time.sleep(0.1)

    trickling = threading.Thread(target=trickle, daemon=True)
    trickling.start()
    assert not Connection(ours, SECRET, is_head=True).greet(0.5)
    assert trickling.is_alive()  # there were ten seconds of it
    ours.close()
    head, worker = both_ends()
    send(worker._socket, b"{")
    assert head.receive(0.5) is None and not head.is_false


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
    other, ours = both_ends()
    running, head = Running(), HeadHost(ours)
    head.started(running)
    other.send("signal", number=number)
    other.send("signal", number=15)
    other.send("finished", success="yes")
    assert head.combined_outcome(Outcome(0)) == Outcome(0, "it failed on another host")
    assert running.told == [15, "kill"]


@pytest.mark.parametrize("event", [{}, {"exit_code": "0", "error": ""}, {"exit_code": 0}, {"exit_code": 1, "error": 7}])
def test_an_end_that_is_none_counts_as_a_lost_host(port: int, event: dict) -> None:
    def worker() -> None:
        connection = joined_worker(port)
        assert [connection.receive(5)["event"] for _ in range(2)] == ["joined", "start"]
        connection.send("exited", **event)

    threading.Thread(target=worker, daemon=True).start()
    with WorkerHosts(HEAD, (WORKER,), REQUEST, SECRET) as peers:
        assert peers.combined_outcome(Outcome(0)).error.startswith("127.0.0.2: the host was lost")


def test_another_hosts_error_does_nothing_to_a_terminal(port: int) -> None:
    def worker() -> None:
        connection = joined_worker(port)
        assert [connection.receive(5)["event"] for _ in range(2)] == ["joined", "start"]
        connection.send("exited", exit_code=1, error="x" * 100_000 + "\x1b]52;c;ZXZpbA==\x07")

    threading.Thread(target=worker, daemon=True).start()
    with WorkerHosts(HEAD, (WORKER,), REQUEST, SECRET) as peers:
        error = peers.combined_outcome(Outcome(0)).error
    assert error.isprintable() and len(error) < 3000


@pytest.mark.parametrize("secret", [SECRET[::-1], SECRET[:-1], b"0" * 64])
def test_who_does_not_know_the_secret_is_no_host(port: int, secret: bytes) -> None:
    """The attack: `join` with a host's name, which can be guessed, made anybody a host of the job."""
    joined: dict[str, Connection] = {}
    accepting = threading.Thread(target=lambda: joined.update(accept_workers(HEAD, (WORKER,), "train-x", SECRET, 1)))
    accepting.start()
    stranger = joined_worker(port, secret)
    assert stranger.receive(5) is None
    accepting.join(10)
    assert joined == {} and not accepting.is_alive()


def test_a_false_head_is_not_believed_and_the_right_one_is(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The attack: whoever answered for the head's name had its program run, or sent the host home."""
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(wait_for_head(HEAD, WORKER, "train-x", PROGRAM, SECRET)))
    with socket.create_server((HEAD, port)) as server:
        waiting.start()
        for known in (False, True, True):
            answering = Connection(server.accept()[0], SECRET[::-1], is_head=True)
            if known:  # as far as one gets without the secret
                assert answering.greet(5)
                answering.send("released")
            answering.close()
    assert found == []
    release_workers(HEAD, (WORKER,), "train-x", SECRET)
    waiting.join(10)
    assert found == [None] and not waiting.is_alive()
    assert capfd.readouterr().err.count("does not know this job's secret, and is not believed") == 1


def lines(*events: str) -> tuple[Connection, list[bytes], Connection]:
    """Return a head's end, lines that a worker has sealed for it, and the worker's end."""
    head, worker = both_ends()
    return head, [sealed(worker, json.dumps({"event": event}).encode()) for event in events], worker


CHANGES = {
    "repeated": lambda first, second: first + first,
    "exchanged": lambda first, second: second + first,
    "left out": lambda first, second: second,
    "changed": lambda first, second: first.replace(b"one", b"two"),
    "cut": lambda first, second: first[64:],
    "of another letter": lambda first, second: bytes([first[0] ^ 1]) + first[1:],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_line_counts_as_it_was_sent_and_once(name: str) -> None:
    """Whoever is between the hosts sees all lines, and gets none of them believed that is not the next one."""
    head, (first, second), worker = lines("one", "two")
    send(worker._socket, CHANGES[name](first, second))
    received = [head.receive(0.5), head.receive(0.5)]
    assert received == [{"event": "one"} if name == "repeated" else None, None] and head.is_false
    head, (first, second), worker = lines("one", "two")
    send(worker._socket, first + second)
    assert [head.receive(5), head.receive(5)] == [{"event": "one"}, {"event": "two"}]


def test_no_line_opens_on_another_connection_or_at_the_end_that_sent_it() -> None:
    head, (line, _), _ = lines("one", "two")
    other, _, worker = lines()
    send(worker._socket, line)
    assert other.receive(5) is None and other.is_false
    ours, theirs = pair()
    mirror = Connection(ours, SECRET, is_head=True)
    send(theirs, mirror._seals.nonce + b"\n")  # it gets its own nonce back, and its own lines
    assert mirror.greet(5)
    send(theirs, sealed(mirror, b'{"event": "join"}'))
    assert mirror.receive(5) is None and mirror.is_false
    seals = Seals(SECRET, "container", is_head=False)  # the same secret, used for something else
    head = Connection(pair()[0], SECRET, is_head=True)
    head._seals.agree(seals.nonce)
    seals.agree(head._seals.nonce)
    with pytest.raises(ValueError, match="does not know"):
        head._seals.open(seals.close(b"x"))


@pytest.mark.parametrize("nonce", [b"", b"0" * 31, b"0" * 33, b"0" * 31 + b"\n", b"g" * 32, b"0" * 100_000])
def test_what_is_no_nonce_is_no_greeting(nonce: bytes) -> None:
    ours, theirs = pair()
    send(theirs, nonce + b"\n")
    connection = Connection(ours, SECRET, is_head=True)
    assert not connection.greet(5) and connection.receive(0.1) is None
    with pytest.raises(AssertionError):
        connection.send("released")


def test_both_packages_seal_lines_in_the_same_way() -> None:
    """The plugin's container and the launcher are installed apart, and neither may need the other."""
    root = Path(__file__).resolve().parents[2]
    plugin = root / "workflow/plugins/snakemake-executor-plugin-sagemaker/src/snakemake_executor_plugin_sagemaker"
    launcher = root / "scripts/heirloom/launcher/hosts"
    assert (plugin / "container/sealing.py").read_bytes() == (launcher / "sealing.py").read_bytes()
