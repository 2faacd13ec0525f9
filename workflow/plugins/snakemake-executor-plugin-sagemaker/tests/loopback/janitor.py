"""The process that cleans up after a server, also one that was killed with SIGKILL: a program.

It waits for the end of its standard input, then kills what is left of plain hosts and removes the server's folder.
"""

import os
import shutil
import signal
import sys
import time


def main(folder: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    # imported late: it costs a tenth of a second that no server should wait for
    from plain_hosts import kill_marked

    # A sandbox ends by itself when its owner does, and may still write in the meantime.
    deadline = time.monotonic() + 20
    while os.path.exists(folder) and time.monotonic() < deadline:
        kill_marked(os.path.join(folder, ""))
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
