"""A server on the loopback that speaks AWS's APIs (moto), as a process of its own."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.launcher.ranks import free_port

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


WITH_A_CLOCK = """
import datetime, pathlib, sys
import moto.s3.models
from moto.server import main
now, days = moto.s3.models.utcnow, pathlib.Path(sys.argv.pop(1))
moto.s3.models.utcnow = lambda: now() - datetime.timedelta(days=int(days.read_text()))
main(sys.argv[1:])
"""


@contextmanager
def moto_server(days_ago: Path | None = None) -> Iterator[str]:
    """Give the server's address while the block runs; `days_ago`: a file that says how old what S3 gets is at once."""
    port = free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    program = [str(Path(sys.executable).parent / "moto_server")]
    if days_ago is not None:
        program = [sys.executable, "-c", WITH_A_CLOCK, str(days_ago)]
    command = [*program, "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(url)
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()
