"""Look at a page in headless Chromium, as a reader's browser shows it."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CONSOLE = re.compile(r"^\[.*?CONSOLE.*", re.MULTILINE)


@dataclass(frozen=True)
class Look:
    """What the browser made of a page: the document after its script has run, and what its console said."""

    document: str
    console: list[str]


class Browser:
    """Headless Chromium with a profile of its own and no network."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder

    def look(self, page: Path, *, actions: str = "") -> Look:
        """Open a page, do the `actions` (JavaScript, as a reader's clicks would cause), return what is there then."""
        return self.visit(self.with_actions(page, actions).as_uri())

    def visit(self, address: str) -> Look:
        """Open an address of this machine, return what is there then."""
        done = self.run(address, "--dump-dom")
        return Look(done.stdout, CONSOLE.findall(done.stderr))

    def screenshot(self, page: Path, image: Path, *, width: int, height: int = 2400, dark: bool = False) -> Look:
        """Take a picture of a page `width` pixels wide."""
        # a window of Chromium's is at least 500 pixels wide, a phone is not: it looks through a frame of its width
        frame = self.folder / "frame.html"
        style = f"margin:0;width:{width}px;height:{height}px;border:0;display:block"
        frame.write_text(f'<body style="margin:0"><iframe style="{style}" src="{page.as_uri()}"></iframe>')
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        done = self.run(frame.as_uri(), f"--screenshot={image}", f"--window-size={max(width, 500)},{height}", *scheme)
        return Look("", CONSOLE.findall(done.stderr))

    def with_actions(self, page: Path, actions: str) -> Path:
        if not actions:
            return page
        copy = self.folder / f"acted-{page.name}"
        html = page.read_text(encoding="utf-8")
        copy.write_text(html.replace("</body>", f"<script>{actions}</script></body>"), encoding="utf-8")
        return copy

    def run(self, address: str, *flags: str) -> subprocess.CompletedProcess:
        own = [
            self.program, "--headless=new", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            f"--user-data-dir={self.folder / 'profile'}", "--virtual-time-budget=5000",
            "--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--no-first-run", "--disable-dev-shm-usage",
        ]  # fmt: skip
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root with it
        done = subprocess.run(
            [*own, *sandbox, *flags, address], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done


def find_browser(folder: Path) -> Browser:
    """Return this machine's Chromium; skip the test where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: install one of {', '.join(NAMES)}")
    return Browser(program, folder)
