"""Run a command and write what it took, as JSON, to an open file: python -I -S command_cost.py NUMBER COMMAND…

A small process of its own, since the peak of memory that Linux tells of a program counts from what the process held
that began it: beside a benchmark that has loaded torch, every command would seem to take its 500 MB.
"""

import json
import os
import sys
import time


def main() -> None:
    started = time.perf_counter()
    process = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - started
    took = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024]
    os.write(int(sys.argv[1]), json.dumps(took).encode())


if __name__ == "__main__":
    main()
