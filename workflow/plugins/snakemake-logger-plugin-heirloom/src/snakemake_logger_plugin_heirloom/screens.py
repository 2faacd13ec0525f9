"""Where lines go: a terminal, with the running jobs below them, or anything else, plainly.

A line is written in one piece, and no two at once.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TextIO

from snakemake_logger_plugin_heirloom.board import EMPTY, FULL, board
from snakemake_logger_plugin_heirloom.job import Job

STYLES = {"done": "green", "failed": "bold red", "error": "bold red", "warning": "yellow", "note": "dim"}
REFRESHES = 4
"""A second."""


class Screen(Protocol):
    """What the plugin writes to."""

    live: bool
    """Whether it shows the running jobs by itself."""

    def line(self, text: str, style: str = "") -> None:
        """Write a line about a job: in a terminal it is cut at its end."""

    def text(self, text: str, style: str = "") -> None:
        """Write lines as they are: in a terminal long ones are wrapped between words."""

    def run(self, running: bool) -> None:
        """Hear whether jobs run."""


class Plain:
    """A pipe or a file: no colour, nothing is cut or wrapped."""

    live = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, text: str, style: str = "") -> None:
        with self._lock:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    text = line

    def run(self, running: bool) -> None:
        pass


class Terminal:
    """A terminal: lines scroll, the running jobs stand below them and vanish with the last one."""

    live = True

    def __init__(self, stream: TextIO, colour: bool, jobs: Callable[[], Iterable[Job]]) -> None:
        from rich.console import Console

        class Shown(Console):
            """The cursor stays: a killed process could not bring it back."""

            def show_cursor(self, show: bool = True) -> bool:
                return False

        self._colour = colour
        self._jobs = jobs
        self._console = Shown(file=stream, force_terminal=True, no_color=not colour, highlight=False)
        self._live = None
        self._lock = threading.Lock()

    def line(self, text: str, style: str = "") -> None:
        self._print(text, style, no_wrap=True, overflow="ellipsis", crop=True)

    def text(self, text: str, style: str = "") -> None:
        self._print(text, style)

    def _print(self, text: str, style: str, **how) -> None:
        from rich.text import Text

        with self._lock:
            self._console.print(Text(text, style=self.style(style)), **how)

    def style(self, name: str) -> str:
        """Return the style of a name; without colour there is none, bold neither."""
        return STYLES.get(name, "") if self._colour else ""

    def run(self, running: bool) -> None:
        from rich.live import Live

        with self._lock:
            if running and self._live is None:
                self._live = Live(
                    get_renderable=self._board, console=self._console, refresh_per_second=REFRESHES, transient=True
                )
                self._live.start()
            elif not running and self._live is not None:
                live, self._live = self._live, None
                live.stop()

    def _board(self):
        """Return the running jobs, a line each."""
        from rich.text import Text

        shown = Text(no_wrap=True, overflow="crop", end="")
        for number, row in enumerate(board(list(self._jobs()), self._console.width)):
            shown.append("\n" if number else "").append(row.before)
            shown.append(FULL * row.full, self.style("done")).append(EMPTY * row.empty, self.style("note"))
            shown.append(row.after)
        return shown


def open_screen(stream: TextIO, nocolor: bool, jobs: Callable[[], Iterable[Job]]) -> Screen:
    """Return the terminal behind the stream, else a plain screen."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return Plain(stream)
    return Terminal(stream, colour=not (nocolor or os.environ.get("NO_COLOR")), jobs=jobs)
