"""Lines of JSON over TCP, between the launchers of hosts that run the ranks of one program together."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

KEEPALIVE_TIMEOUT = 20.0
"""Seconds after which a host counts as lost whose kernel does not answer: one that was cut off says no farewell."""
MAX_MESSAGE_BYTES = 1 << 20
CHUNK = 1 << 16


class Connection:
    """One end. `events` ends when the other end does, however that happens."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._unread = bytearray()
        connected.settimeout(None)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            probes = int(KEEPALIVE_TIMEOUT / 5) - 1
            for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", probes)):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(KEEPALIVE_TIMEOUT * 1000))

    def send(self, event: str, **facts: Any) -> None:
        """Send an event; nothing happens when the other end is gone, which `events` tells."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps({"event": event, **facts}).encode() + b"\n")

    def receive(self, seconds: float | None = None, most: int = MAX_MESSAGE_BYTES) -> dict[str, Any] | None:
        """Return the next event; None when there is none within so many `seconds`, however its bytes trickle in.

        None too when the other end is gone, or sends what is no event or has more than `most` bytes.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            while b"\n" not in self._unread:
                if len(self._unread) > most:
                    return None
                self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
                piece = self._socket.recv(CHUNK)
                if not piece:
                    return None
                self._unread += piece
            end = self._unread.index(b"\n")
            line = bytes(self._unread[:end])
            del self._unread[: end + 1]
            event = json.loads(line) if end <= most else None
        except (OSError, ValueError, RecursionError):
            return None
        return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the other end sends until it is gone."""
        while (event := self.receive()) is not None:
            yield event

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
