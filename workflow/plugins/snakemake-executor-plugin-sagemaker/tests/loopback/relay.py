"""Ports of 127.0.0.1 outside, reached at the same address from inside a sandbox, over a Unix socket between the two.

A sandbox has its own network without a way out; the endpoints of AWS have to keep their URLs there. Only the standard
library: the sandbox's own programs import this too.
"""

import contextlib
import os
import socket
import threading


def socket_path(folder: str, port: int) -> str:
    """Where the Unix socket for a port lies."""
    return os.path.join(folder, f"port-{port}")


class PortRelay:
    """The outer end: what connects to the Unix socket below `folder` is connected to 127.0.0.1:`port`."""

    def __init__(self, folder: str, port: int):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(socket_path(folder, port))
        self._listener.listen(256)
        arguments = (self._listener, lambda: socket.create_connection(("127.0.0.1", port)))
        threading.Thread(target=_accept, args=arguments, daemon=True).start()

    def close(self) -> None:
        """Accept no more; connections end with their peers."""
        # shutdown wakes the thread that waits in accept, which close alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class RelayEntrance:
    """The inner end: what connects to 127.0.0.1:`port` here is connected to the Unix socket below `folder`.

    It listens from the start; `serve` is the body of a thread.
    """

    def __init__(self, folder: str, port: int):
        self._path = socket_path(folder, port)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)

    def serve(self) -> None:
        _accept(self._listener, self._connect)

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        return connection


def _accept(listener, connect) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return  # closed
        try:
            far = connect()
        except OSError:
            near.close()
            continue
        ends = _Ends(near, far)
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=ends.copy, args=(source, target), daemon=True).start()


class _Ends:
    """The two sockets of one relayed connection, closed when both directions are over."""

    def __init__(self, *sockets):
        self._sockets, self._open = sockets, len(sockets)
        self._lock = threading.Lock()

    def copy(self, source, target) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open -= 1
            over = self._open == 0
        if over:
            for end in self._sockets:
                end.close()
