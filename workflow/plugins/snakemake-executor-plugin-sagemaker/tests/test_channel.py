"""What hosts tell each other, in one process on addresses of loopback."""

import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_sagemaker import Executor, cloudwatch
from snakemake_executor_plugin_sagemaker.container import channel
from snakemake_executor_plugin_sagemaker.container.failure import Failure
from snakemake_executor_plugin_sagemaker.container.hosts import Hosts

NAMES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SECRET = b"a secret of the job, of 32 bytes"


def hosts(current: str) -> Hosts:
    return Hosts(NAMES, current, "lo", "ml.m5.xlarge")


@pytest.fixture
def head():
    told = threading.Event()
    made = channel.Head(hosts(NAMES[0]), SECRET, 10, told.set)
    made.told = told
    yield made
    made.settle = 0.0  # nobody is waited for any more
    made.finish(None)


def worker(name: str, secret: bytes = SECRET) -> channel.Worker:
    return channel.Worker(hosts(name), secret, 5, lambda: None)


def test_the_first_failure_in_time_is_the_jobs_on_every_host(head):
    workers = [worker(name) for name in NAMES[1:]]
    cause = Failure(NAMES[2], "out of memory", 100.0)
    reports = [
        threading.Thread(target=workers[0].report, args=(Failure(NAMES[1], "connection reset", 101.0),)),
        threading.Thread(target=workers[1].report, args=(cause,)),
    ]
    reports[0].start()
    assert head.told.wait(10)
    reports[1].start()
    own = Failure(NAMES[0], "connection reset by peer", 100.5)
    while head.first_failure(own) != cause:
        pass
    head.settle = 0.0  # these workers never leave
    head.finish(head.first_failure(own))
    for report in reports:
        report.join()
    assert [each.failure for each in workers] == [cause, cause]


def test_a_late_host_hears_that_all_went_well(head):
    early = worker(NAMES[1])
    finishing = threading.Thread(target=head.finish, args=(None,))
    finishing.start()
    late = worker(NAMES[2])
    assert early.wait(10)
    assert late.wait(10)
    assert early.failure is late.failure is None
    for each in (early, late):
        each.close()
    finishing.join()


def test_another_jobs_host_is_not_let_in(head):
    stranger = worker(NAMES[1], secret=SECRET[::-1])
    assert stranger.wait(10)
    assert "was lost" in stranger.failure.text
    assert not head.told.is_set()


def test_a_host_that_vanishes_fails_the_job_on_the_head(head):
    workers = [worker(name) for name in NAMES[1:]]
    workers[1]._ready.wait(10)
    workers[1].close()
    assert head.told.wait(10)
    assert head.first_failure(None).sentence() == "127.0.0.3: the host was lost: no sign of life from 127.0.0.3"


ODD = {
    "a list": b"[1]\n",
    "no event": b"{}\n",
    "deep": b"[" * 200_000 + b"\n",
    "a long number": b'{"event": ' + b"9" * 5000 + b"}\n",
    "no UTF-8": b"\xff\xfe\n",
    "a host that is none": b'{"event": "join", "host": ["127.0.0.2"]}\n',
    "a host without a seal": b'{"event": "join", "host": "127.0.0.2"}\n',
    "a nonce and no seal": b"0" * 32 + b'\n{"event": "join", "host": "127.0.0.2"}\n',
    "a nonce and a false seal": b"0" * 32 + b"\n" + b"0" * 64 + b'{"event": "join", "host": "127.0.0.2"}\n',
    "a long line": b"x" * 20_000_000,
    "silence": b"",
}


def stranger(data: bytes) -> socket.socket:
    connected = socket.create_connection((NAMES[0], channel.PORT), timeout=10)
    with contextlib.suppress(OSError):  # the head may hang up meanwhile
        connected.sendall(data)
    return connected


def test_strangers_cost_little_and_keep_nobody_out(head, monkeypatch):
    monkeypatch.setattr(channel, "_FIRST_WORD", 1.0)
    before = threading.active_count()
    began = time.process_time()
    strangers = [stranger(data) for _ in range(20) for data in ODD.values() if len(data) < 1_000_000]
    strangers.append(stranger(ODD["a long line"]))
    assert threading.active_count() - before <= channel._MOST_UNKNOWN
    for _ in range(50):  # until those are forgotten
        workers = [worker(name) for name in NAMES[1:]]
        if not any(each.wait(0.2) for each in workers):
            break
    head.settle = 0.2
    head.finish(None)
    assert all(each.wait(10) and each.failure is None for each in workers)
    assert time.process_time() - began < 10
    for each in strangers:
        each.close()


FAILURES = [None, 3, {}, {"host": 1, "text": "x", "time": 1}, {"host": "x", "text": "x", "time": float("nan")}, ["x"]]


class Spoken:
    """A host that knows the secret, or has another one, and sends what it is told."""

    def __init__(self, secret: bytes = SECRET):
        connected = socket.create_connection((NAMES[0], channel.PORT), timeout=10)
        self.connection = channel._Connection(connected, secret, is_head=False)
        assert self.connection.greet(10)

    def say(self, *words: object, times: int = 1) -> None:
        for word in words:
            line = self.connection._seals.close(json.dumps(word).encode()) + b"\n"
            with contextlib.suppress(OSError):  # the head hangs up on what it does not believe
                self.connection._socket.sendall(line * times)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_that_is_none_is_a_lost_host(head, failure):
    host = Spoken()
    host.say({"event": "join", "host": NAMES[1]}, {"event": "failed", "failure": failure}, [1])
    assert head.told.wait(10)
    assert head.first_failure(None).sentence() == "127.0.0.2: the host was lost: no sign of life from 127.0.0.2"
    host.connection.close()


FAILED = {"event": "failed", "failure": Failure("127.0.0.2", "x", 1.0).as_dict()}


def test_who_does_not_know_the_secret_reports_nothing(head):
    """The attack: the job's digest, which logs and DescribeTrainingJob show, was all that a host had to know."""
    for secret in (SECRET[::-1], SECRET[:-1], b"0" * 64):
        stranger = Spoken(secret)
        stranger.say({"event": "join", "host": NAMES[1]}, FAILED)
        assert stranger.connection.first_event(5) is None
    assert not head.told.is_set() and not head._joined


def test_what_one_host_has_said_can_be_said_by_nobody_again(head):
    host = Spoken()
    host.say({"event": "join", "host": NAMES[1]}, {"event": "alive"}, FAILED, times=2)  # each line twice
    assert head.told.wait(10)
    assert head.first_failure(None).text == "the host was lost: no sign of life from 127.0.0.2"
    host.connection.close()


def test_a_false_head_ends_no_host(monkeypatch):
    """It says that the job is over, as the head does, and knows no secret: nobody believes it."""
    monkeypatch.setattr(channel, "_FIRST_WORD", 0.5)
    over = b'{"event": "over", "failure": null}\n'
    with socket.create_server((NAMES[0], channel.PORT)) as server:
        answers = [over, b"0" * 32 + b"\n" + over, b"0" * 32 + b"\n" + b"0" * 64 + over]
        for answer in answers:
            waiting = channel.Worker(hosts(NAMES[1]), SECRET, 2, lambda: None)
            connected = server.accept()[0]
            connected.sendall(answer)
            if answer is answers[0]:
                server.settimeout(5)  # it is no greeting: the host tries again
            assert not waiting.wait(0.1) or waiting.failure is not None
            assert waiting.wait(10) and waiting.failure is not None
            connected.close()


def test_another_hosts_failure_does_nothing_to_a_terminal():
    told = Failure.read({"host": "algo-2", "text": "a\x1b]52;c;eA==\x07\nb\u202e" + "x" * 100_000, "time": 1.0})
    assert told.text.replace("\n", "").isprintable() and len(told.text) <= 10_000
    assert Failure.read(Failure("algo-2", "a\n\tb", 1.0).as_dict()) == Failure("algo-2", "a\n\tb", 1.0)


def test_what_a_failed_jobs_log_ends_with_does_nothing_to_a_terminal(monkeypatch):
    monkeypatch.setattr(cloudwatch, "tail", lambda *_: ["--- algo-1", "KeyError: 'é\x1b[2J\x9b1A'"])
    executor = SimpleNamespace(_logs=None, _region="eu-west-1", executor_settings=SimpleNamespace(log_lines=2))
    told = Executor._explanation(executor, SimpleNamespace(training_job="train"), "its reason \x1b]52;c;eA==\x07")
    assert told.replace("\n", "").isprintable() and "\n--- algo-1\nKeyError: 'é\\x1b[2J\\x9b1A'\nLog: " in told
