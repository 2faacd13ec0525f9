"""Lines of JSON over TCP, between the launchers of hosts that run the ranks of one program together.

Each line is sealed with the job's secret (launcher.hosts.sealing): who does not know it is told nothing and believed
nothing.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from heirloom.launcher.hosts.sealing import SEAL_LENGTH, Seals

PURPOSE = "launcher"
KEEPALIVE_TIMEOUT = 20.0
"""Seconds after which a host counts as lost whose kernel does not answer: one that was cut off says no farewell."""
MAX_MESSAGE_BYTES, MAX_GREETING_BYTES = 1 << 20, 64
CHUNK = 1 << 16


class Connection:
    """One end. `events` ends when the other end does, however that happens."""

    def __init__(self, connected: socket.socket, secret: bytes, *, is_head: bool) -> None:
        self._socket = connected
        self._seals = Seals(secret, PURPOSE, is_head)
        self._sending = threading.Lock()  # lines are counted: they leave in the order of their seals
        self.is_false = False
        self._unread = bytearray()
        connected.settimeout(None)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            probes = int(KEEPALIVE_TIMEOUT / 5) - 1
            for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", probes)):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(KEEPALIVE_TIMEOUT * 1000))
        with contextlib.suppress(OSError):
            connected.sendall(self._seals.nonce + b"\n")

    def greet(self, seconds: float) -> bool:
        """Wait for the other end's nonce, after which events can be sent and received; False when none comes."""
        try:
            self._seals.agree(self._line(seconds, MAX_GREETING_BYTES))
        except (OSError, ValueError):
            return False
        return True

    def send(self, event: str, **facts: Any) -> None:
        """Send an event; nothing happens when the other end is gone, which `events` tells."""
        line = json.dumps({"event": event, **facts}).encode()
        with contextlib.suppress(OSError), self._sending:
            self._socket.sendall(self._seals.close(line) + b"\n")

    def receive(self, seconds: float | None = None, most: int = MAX_MESSAGE_BYTES) -> dict[str, Any] | None:
        """Return the next event; None when there is none within so many `seconds`, however its bytes trickle in.

        None too when the other end is gone, or sends what is no event or has more than `most` bytes; and when it does
        not know the secret, which `is_false` says from then on.
        """
        if self.is_false or not self._seals.agreed:
            return None
        try:
            sealed = self._line(seconds, most + SEAL_LENGTH)
        except (OSError, ValueError):
            return None
        try:
            line = self._seals.open(sealed)
        except ValueError:
            self.is_false = True
            return None
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None

    def _line(self, seconds: float | None, most: int) -> bytes:
        """Return the next line. Raises OSError when none comes in time or at all, ValueError for one that is longer."""
        deadline = None if seconds is None else time.monotonic() + seconds
        looked_at = 0
        while (end := self._unread.find(b"\n", looked_at)) < 0:
            looked_at = len(self._unread)
            if looked_at > most:
                raise ValueError("a line without end")
            self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
            piece = self._socket.recv(CHUNK)
            if not piece:
                raise ConnectionError("the other end is gone")
            self._unread += piece
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        if end > most:
            raise ValueError("a line that is too long")
        return line

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the other end sends until it is gone."""
        while (event := self.receive()) is not None:
            yield event

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
