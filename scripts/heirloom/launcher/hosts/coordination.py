"""How the launcher of a training job's head has the ranks of the other hosts started, and how all hosts end together.

A worker host connects to the head, again and again until the head's launcher runs: a head that hashes or restores for
minutes leaves nobody in a rendezvous, and when it has nothing to execute the worker is ended by whoever started it.

    worker → head   join: host, stage      exited: exit_code, error
    head → worker   joined   start: LaunchRequest   signal: number   finished: success   released

Both ends know a secret of the job, by which each line is sealed: nobody else becomes a host, or is taken for the head.

A worker runs its stage's own program, which it knows; the head that it connects to by name says when, and on how many
ranks. It makes the command and the variables itself, so no secret is sent. Neither end believes more of the other than
that: whatever comes is looked at, within limits of size and time. The first real error of any host is that of the
stage.
"""

import contextlib
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heirloom.errors import plain
from heirloom.launcher.command import Program
from heirloom.launcher.failure import is_consequence
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.ledger import Stage
from heirloom.launcher.processes import Outcome, RunningProgram, say
from heirloom.launcher.ranks import Ranks
from heirloom.launcher.reaper import FORWARDED

PORT = 7712
EXIT_TIMEOUT = 10.0
"""Seconds that a host's ranks have to end by themselves, and to tell why, when those of another host have failed."""
EXIT_TIMEOUT_WITH_CAUSE = 2.0
"""The same where the failure tells its cause itself."""
STRAGGLER_TIMEOUT = 60.0
"""Seconds that other hosts' ranks may take to end when those of the head have ended well."""
RELEASE_TIMEOUT = 15.0
"""Seconds that the head waits for the others at the end, to release them."""
RETRY_INTERVAL = 0.5
ACCEPT_INTERVAL = 0.05
MAX_HELLO_BYTES = 4096
MOST_UNKNOWN = 64
"""Connections that are heard at once before they have said who they are."""
LONGEST_ERROR = 2000
"""Characters of another host's error that are told."""
CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True)
class LaunchRequest:
    """What all hosts run together."""

    program: Program
    stage: Stage
    ranks: Ranks
    commit: str | None
    port: int = 0
    """Where ranks meet, at the head's address."""

    def facts(self) -> dict[str, Any]:
        """Return what `request_from` takes."""
        program = {**asdict(self.program), "script": str(self.program.script)}
        own = {"commit": self.commit, "port": self.port}
        return {"program": program, "stage": asdict(self.stage), "ranks": asdict(self.ranks), **own}


def request_from(facts: dict[str, Any], stage: str, program: Program) -> LaunchRequest | None:
    """Return what the head asks of a host that waits for `stage`, which runs `program`; None when it asks otherwise.

    Whoever answers in the head's place gets nothing run but the stage's own program, which this host knows itself.
    """
    try:
        asked = facts["program"]
        request = LaunchRequest(
            Program(asked["kind"], Path(asked["script"]), tuple(asked["arguments"])),
            Stage(**{**facts["stage"], "products": list(facts["stage"]["products"])}),
            Ranks(**facts["ranks"]),
            facts["commit"],
            facts["port"],
        )
        numbers = (
            request.ranks.nodes,
            request.ranks.per_node,
            request.ranks.gpus,
            request.stage.gpus or 0,
            request.port,
        )
        right = (
            request.program == program
            and request.stage.name == stage
            and re.fullmatch("[0-9a-f]{64}", request.stage.identity or "0" * 64)
            and isinstance(request.commit, str | None)
            and request.ranks.device in ("cpu", "gpu")
            and all(type(number) is int and 0 <= number < 1 << 16 for number in numbers)
        )
    except (KeyError, TypeError, ValueError):
        return None
    return request if right else None


def accept_workers(
    head: str, workers: tuple[str, ...], stage: str, secret: bytes, seconds: float | None = None
) -> dict[str, Connection]:
    """Return a connection to each worker by name, once all have joined or so many seconds are over.

    Only hosts of this job, which know its secret, that wait for this stage are let in. Who says nothing, or something
    else, keeps nobody waiting: each connection is heard in a thread of its own, for CONNECT_TIMEOUT a line.
    """
    reception = Reception(workers, stage, secret)
    deadline = None if seconds is None else time.monotonic() + seconds
    # hosts that are numbers of the loopback are alone on this machine; others are reached by name
    address = head if head.startswith("127.") else ""
    with socket.create_server((address, PORT), backlog=2 * MOST_UNKNOWN + len(workers)) as server:
        server.settimeout(ACCEPT_INTERVAL)
        while not reception.complete and (deadline is None or time.monotonic() < deadline):
            with contextlib.suppress(TimeoutError):
                reception.hear(server.accept()[0])
    return reception.close()


class Reception:
    """Hears who has connected to the head, several at once, and keeps the workers that wait for a stage."""

    def __init__(self, workers: tuple[str, ...], stage: str, secret: bytes) -> None:
        self._workers, self._stage, self._secret = workers, stage, secret
        self._joined: dict[str, Connection] = {}
        self._lock = threading.Lock()
        self._heard = threading.BoundedSemaphore(MOST_UNKNOWN)
        self._open = True

    @property
    def complete(self) -> bool:
        """Whether all workers have joined."""
        with self._lock:
            return len(self._joined) == len(self._workers)

    def hear(self, connected: socket.socket) -> None:
        """Let a thread find out who has connected; nobody is heard while MOST_UNKNOWN others are."""
        if self._heard.acquire(blocking=False):
            threading.Thread(target=self._hear, args=(connected,), daemon=True).start()
        else:
            connected.close()

    def _hear(self, connected: socket.socket) -> None:
        try:
            connection = Connection(connected, self._secret, is_head=True)
            known = connection.greet(CONNECT_TIMEOUT)
            hello = (known and connection.receive(CONNECT_TIMEOUT, MAX_HELLO_BYTES)) or {}
        except OSError:  # it is gone already
            connected.close()
            return
        finally:
            self._heard.release()
        name = hello.get("host")
        with self._lock:
            if self._open and name in self._workers and hello.get("stage") == self._stage:
                if name in self._joined:  # it was started anew
                    self._joined[name].close()
                connection.send("joined")
                self._joined[name] = connection
                return
        connection.close()

    def close(self) -> dict[str, Connection]:
        """Let nobody in any more; return the workers that have joined, in the order of their names in the job."""
        with self._lock:
            self._open = False
            return {name: self._joined[name] for name in self._workers if name in self._joined}


def release_workers(head: str, workers: tuple[str, ...], stage: str, secret: bytes) -> None:
    """Tell the workers of a stage that its result is safe, and wait until each has deleted its work in progress.

    One that does not join, or takes long, is left to its own devices.
    """
    joined = accept_workers(head, workers, stage, secret, RELEASE_TIMEOUT).values()
    for connection in joined:
        connection.send("released")
    for connection in joined:
        connection.receive(RELEASE_TIMEOUT)  # nothing comes: the worker closes when it is done
        connection.close()


class WorkerHosts:
    """The worker hosts, as the head sees them: starts their ranks, and ends them and those of the head together."""

    def __init__(self, head: str, workers: tuple[str, ...], request: LaunchRequest, secret: bytes) -> None:
        self._head, self._workers, self._request, self._secret = head, workers, request, secret
        self._joined: dict[str, Connection] = {}
        self._changed = threading.Condition()
        self._ended: dict[str, Outcome] = {}
        self._running: RunningProgram | None = None
        self._killed = False
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __enter__(self) -> "WorkerHosts":
        """Wait until all workers have joined, and start them."""
        say(f"{self._request.stage.name}: waiting for {', '.join(self._workers)}")
        self._joined = accept_workers(self._head, self._workers, self._request.stage.name, self._secret)
        for name, connection in self._joined.items():
            connection.send("start", **self._request.facts())
            threading.Thread(target=self._listen, args=(name, connection), daemon=True).start()
        threading.Thread(target=self._forward_signals, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._joined.values():
            connection.close()

    def _listen(self, name: str, connection: Connection) -> None:
        ended = next((event for event in connection.events() if event["event"] == "exited"), {})
        code, error = ended.get("exit_code"), ended.get("error")
        if isinstance(code, int) and isinstance(error, str):
            outcome = Outcome(code, plain(error[-LONGEST_ERROR:]))
        else:
            outcome = Outcome(1, f"the host was lost: no sign of life from {name}")
        with self._changed:
            self._ended[name] = outcome
            self._changed.notify_all()
        if outcome.exit_code:
            self._end_local_ranks(exit_timeout(outcome))

    def _end_local_ranks(self, seconds: float) -> None:
        """Kill the head's ranks if they do not end by themselves: they may wait long for those that are gone."""
        with self._changed:
            began = self._changed.wait_for(lambda: self._running is not None, EXIT_TIMEOUT)
        if began and not self._running.wait(seconds):
            self._killed = True
            self._running.kill()

    def _forward_signals(self) -> None:
        while True:
            number = self._signals.get()
            for connection in self._joined.values():
                connection.send("signal", number=number)

    def started(self, running: RunningProgram) -> None:
        with self._changed:
            self._running = running
            self._changed.notify_all()

    def signalled(self, number: int) -> None:
        self._signals.put(number)  # which is allowed in a signal handler

    def combined_outcome(self, own: Outcome) -> Outcome:
        """Return how all hosts' ranks have ended, and tell the workers: the first real error counts."""
        names = set(self._workers)
        with self._changed:
            self._changed.wait_for(lambda: self._ended.keys() == names, exit_timeout(own))
            late = [name for name in self._workers if name not in self._ended]
            outcomes = [
                Outcome(outcome.exit_code, f"{name}: {outcome.error}")
                for name, outcome in self._ended.items()
                if outcome.exit_code
            ]
        if late and not own.exit_code:
            outcomes.append(
                Outcome(1, f"{late[0]}: its ranks did not end within {STRAGGLER_TIMEOUT:.0f} s of the head's")
            )
        if own.exit_code and not self._killed:
            outcomes.insert(0, own)
        outcomes.sort(key=lambda outcome: is_consequence(outcome.error))  # which keeps the order else
        for connection in self._joined.values():
            connection.send("finished", success=not outcomes)
        return outcomes[0] if outcomes else own


def exit_timeout(outcome: Outcome) -> float:
    """Return how many seconds other hosts have to end after one has ended in this way."""
    if not outcome.exit_code:
        return STRAGGLER_TIMEOUT
    return EXIT_TIMEOUT if is_consequence(outcome.error) else EXIT_TIMEOUT_WITH_CAUSE


class HeadHost:
    """The head, as a worker sees it that has been started."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._over = threading.Event()
        self._success: bool | None = None

    def started(self, running: RunningProgram) -> None:
        threading.Thread(target=self._listen, args=(running,), daemon=True).start()

    def _listen(self, running: RunningProgram) -> None:
        for event in self._connection.events():
            if event["event"] == "signal" and event.get("number") in FORWARDED:
                running.forward_signal(event["number"])
            elif event["event"] == "finished":
                self._success = event.get("success") is True
                break
        running.kill()  # what still runs waits for ranks that are gone
        self._over.set()

    def signalled(self, number: int) -> None:
        """Nothing is passed on: whoever ends a training job signals all its hosts."""

    def combined_outcome(self, own: Outcome) -> Outcome:
        """Tell the head how this host's ranks have ended, and return what has become of all: the head knows.

        Exit code 0 says that the head has the last word, whatever it is: it tells the user what went wrong.
        """
        self._connection.send("exited", exit_code=own.exit_code, error=own.error)
        self._over.wait()
        if self._success is None:
            return Outcome(own.exit_code or 1, own.error or "the head was lost: no sign of life from it")
        return Outcome(0, "" if self._success else own.error or "it failed on another host")


def wait_for_head(
    head: str, host: str, stage: str, program: Program, secret: bytes, forget: Callable[[], None] = lambda: None
) -> tuple[LaunchRequest, Connection] | None:
    """Return what the head asks to launch and the connection to it, None when the head releases this host.

    Waits until the head executes `stage`, and after that until its result is safe: then `forget` is called, while the
    head waits, for its end is the end of this host. Who does not know the job's secret
    is not the head, whatever its address.
    """
    told = False
    while True:
        try:
            # also while the head's name does not resolve yet
            connected = socket.create_connection((head, PORT), timeout=CONNECT_TIMEOUT)
        except OSError:
            time.sleep(RETRY_INTERVAL)
            continue
        connection = Connection(connected, secret, is_head=False)
        event: dict[str, Any] = {}
        if connection.greet(CONNECT_TIMEOUT):
            connection.send("join", host=host, stage=stage)
            event = connection.receive(CONNECT_TIMEOUT) or {}
            if event.get("event") == "joined":
                event = connection.receive() or {}
        if connection.is_false and not told:
            say(f"{stage}: what answers as {head} does not know this job's secret, and is not believed")
            told = True
        if event.get("event") == "start":
            request = request_from(event, stage, program)
            if request is not None:
                return request, connection
            say(f"{stage}: what answers as {head} asked for something else than this stage, and gets nothing")
        if event.get("event") == "released":
            forget()
            connection.close()
            return None
        connection.close()
        time.sleep(RETRY_INTERVAL)
