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
        _serve(self._listener, lambda: socket.create_connection(("127.0.0.1", port)))

    def close(self) -> None:
        """Accept no more; connections end with their peers."""
        # shutdown wakes the thread that waits in accept, which close alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def listen_inside(folder: str, port: int) -> None:
    """The inner end: what connects to 127.0.0.1:`port` here is connected to the Unix socket below `folder`."""

    def connect():
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(socket_path(folder, port))
        return connection

    _serve(socket.create_server(("127.0.0.1", port), backlog=256), connect)


def _serve(listener, connect) -> None:
    threading.Thread(target=_accept, args=(listener, connect), daemon=True).start()


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
