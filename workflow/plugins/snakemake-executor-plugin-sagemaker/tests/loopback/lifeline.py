"""How a program of the loopback learns that its owner is gone. Standard library only."""

import os
import threading
import time

_LOOK = 0.2  # seconds


def watch_owner(end) -> None:
    """Call `end` once the process that started this one has ended, by whatever means.

    The end of the standard input says the same, but not while a child of the owner, forked without exec, holds the
    other end of the pipe open.
    """
    owner = os.getppid()

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(_LOOK)
        end()

    threading.Thread(target=watch, daemon=True).start()
