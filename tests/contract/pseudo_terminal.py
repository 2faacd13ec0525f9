"""A terminal of so many columns for a command, and what a person sees on it."""

import fcntl
import os
import pty
import re
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

CONTROL_C = b"\x03"
PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


def in_terminal(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    columns: int,
    interrupt_when: Callable[[], bool] | None = None,
    seconds: float = 120,
) -> tuple[int, str]:
    """Run a command in a terminal; return its exit code and all that it wrote there.

    Presses Ctrl-C once when `interrupt_when()` says so.
    """
    sized = ("COLUMNS", "LINES")  # a worker of pytest-xdist has them, and they count for more than the terminal
    environment = {name: value for name, value in environment.items() if name not in sized}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    os.set_blocking(terminal, False)
    deadline, written = time.monotonic() + seconds, b""
    while True:
        assert time.monotonic() < deadline, written.decode()
        try:
            chunk = os.read(terminal, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
            if interrupt_when and interrupt_when():
                interrupt_when = None
                os.write(terminal, CONTROL_C)
            continue
        except OSError:  # Linux says so when the command has ended
            break
        if not chunk:
            break
        written += chunk
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written.decode()


class Screen:
    """The rows that a terminal shows; it knows what the workflow writes: text, colours, and moves to redraw lines."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0
        self.wrapped: list[str] = []
        """Rows that were full when more was written to them."""

    def write(self, text: str) -> "Screen":
        for part in PART.finditer(text):
            if part[0] == "\r":
                self.column = 0
            elif part[0] == "\n":
                self._down()
            elif part[2] is None:
                for character in part[0]:
                    self._put(character)
            elif part[2] == "A":
                self.row = max(0, self.row - int(part[1] or 1))
            elif part[2] == "K":
                assert part[1] == "2", f"erases {part[1]!r}"
                self.rows[self.row] = ""
            else:
                assert part[2] == "m", f"an unknown move: {part[0]!r}"
        return self

    def _put(self, character: str) -> None:
        if self.column == self.columns:
            self.wrapped.append(self.rows[self.row])
            self.column = 0
            self._down()
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def lines(self) -> list[str]:
        """Return the rows with something on them."""
        return [row.rstrip() for row in self.rows if row.strip()]
