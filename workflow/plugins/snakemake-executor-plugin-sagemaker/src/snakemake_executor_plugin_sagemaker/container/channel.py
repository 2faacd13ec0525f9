"""What the hosts of one job tell each other, as lines of JSON over TCP: who is there, who has failed, that it is over.

No host runs anything that it gets from another; launching ranks is the launcher's business. Each line is sealed with a
secret of the job (sealing.py): who does not know it is no host, whatever its address. A host that dies is noticed
by the end of its connection, one that is cut off by its silence.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable

from .failure import Failure
from .hosts import Hosts
from .sealing import SEAL_LENGTH, Seals

_PURPOSE = "container"
PORT = 7711
_BEAT = 3.0  # seconds between signs of life
SILENCE = 30.0  # seconds without one until a host counts as lost
_FIRST_WORD = 10.0  # seconds that a connection has to say who it is
_LONGEST_FIRST, _LONGEST = 1 << 12, 1 << 20  # bytes of a line, before and after that
_MOST_UNKNOWN = 64  # connections that are heard at once before they have said who they are
_SETTLE = 5.0  # seconds that the head waits for the others' errors when its own command fails


def _listening_address(hosts: Hosts) -> tuple[str, int]:
    """Return where the head listens: reachable from the job's hosts.

    Hosts that are numbers of loopback (tests without namespaces) listen there alone.
    """
    return (hosts.head if hosts.head.startswith("127.") else ""), PORT


class _Connection:
    """One end of a connection: writes and reads events, and sends signs of life."""

    def __init__(self, connected: socket.socket, secret: bytes, is_head: bool):
        connected.settimeout(SILENCE)
        self._socket = connected
        self._lock = threading.Lock()
        self._rest = b""
        self._seals = Seals(secret, _PURPOSE, is_head)
        with contextlib.suppress(OSError):
            connected.sendall(self._seals.nonce + b"\n")

    def greet(self, seconds: float) -> bool:
        """Wait for the other end's nonce, after which events can be sent and received; False when none comes."""
        try:
            self._seals.agree(self._first_line(seconds))
        except (OSError, ValueError):
            return False
        return True

    def start_beating(self) -> None:
        """Send signs of life from now on."""
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, **event) -> bool:
        """Send an event; False when the other end is gone."""
        try:
            with self._lock:  # lines are counted: they leave in the order of their seals
                self._socket.sendall(self._seals.close(json.dumps(event).encode()) + b"\n")
        except OSError:
            return False
        return True

    def first_event(self, seconds: float) -> dict | None:
        """Return the first event; None when it does not come within so many SECONDS, however its bytes trickle in."""
        try:
            return _event(self._seals.open(self._first_line(seconds)))
        except (OSError, ValueError, RecursionError):
            return None

    def _first_line(self, seconds: float) -> bytes:
        """Return a line. Raises OSError when none comes within so many SECONDS, ValueError for one that is too long."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest and len(self._rest) <= _LONGEST_FIRST:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._socket.recv(_LONGEST_FIRST)
            if not data:
                raise ConnectionError("the other end is gone")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self._socket.settimeout(SILENCE)
        if len(line) > _LONGEST_FIRST:
            raise ValueError("a line that is too long")
        return line

    def events(self):
        """Yield the other end's events until it is gone, sends none, or has been silent for SILENCE seconds."""
        try:
            while len(self._rest) <= _LONGEST + SEAL_LENGTH:
                *lines, self._rest = self._rest.split(b"\n")
                for event in map(_event, map(self._seals.open, lines)):
                    if event["event"] != "alive":
                        yield event
                data = self._socket.recv(1 << 16)
                if not data:
                    return
                self._rest += data
        except (OSError, ValueError, RecursionError):
            return

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _beat(self) -> None:
        while self.send(event="alive"):
            time.sleep(_BEAT)


def _event(line: bytes) -> dict:
    """Return what a line says. Raises ValueError, RecursionError when it is no event."""
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError("no event")
    return event


class Head:
    """The head's end: collects failures of the other hosts and tells them the end."""

    def __init__(self, hosts: Hosts, secret: bytes, timeout: float, on_failure: Callable[[], None]):
        """Hosts that know SECRET are let in. ON_FAILURE is called when another host has failed."""
        self._hosts, self._secret, self._on_failure = hosts, secret, on_failure
        self._changed = threading.Condition()
        self._unknown = threading.BoundedSemaphore(_MOST_UNKNOWN)
        self._joined: dict[str, _Connection] = {}
        self._gone: set[str] = set()
        self._failures: list[Failure] = []
        self._over = False
        self.settle = _SETTLE  # 0 when SageMaker ends the job: then every second belongs to what has to be saved
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._server = socket.create_server(_listening_address(hosts), backlog=2 * _MOST_UNKNOWN + len(hosts.names))
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._watch_arrivals, daemon=True).start()

    def _missing(self) -> list[str]:
        return [name for name in self._hosts.names[1:] if name not in self._joined and name not in self._gone]

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._server.accept()
            except OSError:
                return
            if self._unknown.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connected,), daemon=True).start()
            else:
                connected.close()

    def _serve(self, connected: socket.socket) -> None:
        connection = _Connection(connected, self._secret, is_head=True)
        first = (connection.greet(_FIRST_WORD) and connection.first_event(_FIRST_WORD)) or {}
        self._unknown.release()
        name = first.get("host")
        if name not in self._hosts.names[1:]:
            connection.close()
            return
        connection.start_beating()
        with self._changed:
            self._joined[name] = connection
            self._changed.notify_all()
        reported = False
        for event in connection.events():
            if event["event"] == "failed" and (failure := Failure.read(event.get("failure"))):
                reported = True
                self._report(failure)
        with self._changed:
            self._gone.add(name)
            self._changed.notify_all()
            over = self._over
        connection.close()
        if not over and not reported:
            self._report(Failure.now(name, f"the host was lost: no sign of life from {name}"))

    def _watch_arrivals(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or not self._missing(), self._deadline - time.monotonic())
            missing = [] if self._over else self._missing()
        if missing:
            names = ", ".join(missing)
            self._report(Failure.now(missing[0], f"{names} did not start within {self._timeout:.0f} s"))

    def _report(self, failure: Failure) -> None:
        with self._changed:
            self._failures.append(failure)
            self._changed.notify_all()
        self._on_failure()

    def first_failure(self, own: Failure | None) -> Failure | None:
        """Return the first failure in time of all hosts, OWN being the head's.

        After an own failure the others have a few seconds to report theirs: a rank that crashes on one host is seen by
        the ranks of the head as a broken connection, often before its own host has collected it.
        """
        with self._changed:
            if own is not None and not self._failures:
                self._changed.wait_for(
                    lambda: self._failures or set(self._hosts.names[1:]) == self._gone, timeout=self.settle
                )
            known = self._failures + ([own] if own else [])
        return min(known, key=lambda failure: failure.time, default=None)

    def finish(self, failure: Failure | None) -> None:
        """Tell all hosts that the job is over, also those that are still to arrive: they would wait in vain."""
        with self._changed:
            self._over = True
            patient = failure is None and self.settle
            limit = max(self._deadline - time.monotonic(), self.settle) if patient else self.settle
            self._changed.wait_for(lambda: not self._missing(), limit)
            connections = list(self._joined.values())
        for connection in connections:
            connection.send(event="over", failure=failure and failure.as_dict())
        with self._changed:
            self._changed.wait_for(lambda: set(self._joined) <= self._gone, timeout=self.settle)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # or the thread in accept() would keep the port
        self._server.close()


class Worker:
    """The end of a host that is not the head."""

    def __init__(self, hosts: Hosts, secret: bytes, timeout: float, on_over: Callable[[], None]):
        """The head knows SECRET. ON_OVER is called when it says that the job is over, or is lost."""
        self._hosts, self._secret, self._timeout, self._on_over = hosts, secret, timeout, on_over
        self._ready, self._ended = threading.Event(), threading.Event()
        self._connection: _Connection | None = None
        self.failure: Failure | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._connection = self._connect()
        if self._connection is None:
            self._end(Failure.now(self._hosts.head, f"it could not be reached within {self._timeout:.0f} s"))
            return
        self._connection.send(event="join", host=self._hosts.current)
        self._connection.start_beating()
        self._ready.set()
        for event in self._connection.events():
            if event["event"] == "over":
                self._end(Failure.read(event.get("failure")))
                return
        self._end(Failure.now(self._hosts.head, f"the host was lost: no sign of life from {self._hosts.head}"))

    def _connect(self) -> _Connection | None:
        """Connect to the head, whose name may not resolve yet and which may not listen yet; None after the timeout."""
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                connected = socket.create_connection((self._hosts.head, PORT), timeout=5)
                connection = _Connection(connected, self._secret, is_head=False)
                if connection.greet(_FIRST_WORD):
                    return connection
                connection.close()
            time.sleep(0.3)
        return None

    def _end(self, failure: Failure | None) -> None:
        self.failure = failure
        self._ended.set()
        self._ready.set()
        self._on_over()

    @property
    def over(self) -> bool:
        """Whether the job has ended for this host."""
        return self._ended.is_set()

    def wait_joined(self, timeout: float) -> bool:
        """Wait until the head knows this host, or the job is over."""
        return self._ready.wait(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the head says that the job is over or is lost."""
        return self._ended.wait(timeout)

    def report(self, failure: Failure) -> None:
        """Tell the head that this host has failed, and wait until it has ended the job."""
        if (
            self._ready.wait(self._timeout)
            and not self.over
            and self._connection.send(event="failed", failure=failure.as_dict())
        ):
            self._ended.wait()

    def close(self) -> None:
        """Leave."""
        if self._connection:
            self._connection.close()
