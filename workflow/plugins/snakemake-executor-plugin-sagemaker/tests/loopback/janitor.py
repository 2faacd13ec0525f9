"""The process that cleans up after a server, also one that was killed with SIGKILL: a program.

It waits for the end of its standard input or of its owner, then removes the server's folder. Its second argument is
the kind of hosts: it first kills what is left of `plain` processes and of containers of an `image`, which unlike a
sandbox don't end with their first process.
"""

import os
import shutil
import signal
import sys
import threading
import time

from image_hosts import remove_containers, server_prefix
from lifeline import watch_owner


def main(folder: str, kind: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    over = threading.Event()
    watch_owner(over.set)
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    over.wait()
    # A sandbox ends by itself when its owner does, and may still write in the meantime.
    deadline = time.monotonic() + 20
    while os.path.exists(folder) and time.monotonic() < deadline:
        if kind == "plain":
            from plain_hosts import kill_marked  # needs psutil, and a tenth of a second

            kill_marked(os.path.join(folder, ""))
        elif kind == "image":
            remove_containers(server_prefix(folder))
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)
    os._exit(0)  # not waiting for the thread that reads


if __name__ == "__main__":
    main(*sys.argv[1:])
