"""Lines of JSON over TCP, between the launchers of hosts that run the ranks of one program together."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

KEEPALIVE_TIMEOUT = 20.0
"""Seconds after which a host counts as lost whose kernel does not answer: one that was cut off says no farewell."""
MAX_MESSAGE_BYTES = 1 << 20


class Connection:
    """One end. `events` ends when the other end does, however that happens."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._file = connected.makefile("rb")
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

    def receive(self, seconds: float | None = None) -> dict[str, Any] | None:
        """Return the next event; None when the other end is gone, sends no JSON, or nothing for so many `seconds`."""
        self._socket.settimeout(seconds)
        try:
            line = self._file.readline(MAX_MESSAGE_BYTES)
            return json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the other end sends until it is gone."""
        while (event := self.receive()) is not None:
            yield event

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._socket.close()
