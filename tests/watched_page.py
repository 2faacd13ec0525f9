"""The page of `make watch`: served for a clone by its own command, and asked as a browser asks it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

WATCH = ("python", "workflow/pipeline", "watch")
ON_ANOTHER_MACHINE = ("unshare", "--uts", "sh", "-c", 'hostname login && exec "$@"', "sh")
"""Before a command: it sees a machine of another name, as who watches a cluster from its login node does."""


class Page(NamedTuple):
    address: str

    def ask(self, path: str | None = None, method: str = "GET", host: str | None = None) -> http.client.HTTPResponse:
        """Send one request, as it is; return the answer, read."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.putrequest(method, parts.path if path is None else path, skip_host=True)
        connection.putheader("Host", host or parts.netloc)
        connection.endheaders()
        answer = connection.getresponse()
        answer.body = answer.read().decode()
        connection.close()
        return answer

    def state(self) -> dict:
        """Return what the page shows now."""
        answer = self.ask(f"{urlsplit(self.address).path}state.json")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


@contextmanager
def watching(folder: Path, environment: dict[str, str], elsewhere: bool = False) -> Iterator[Page]:
    """Serve the page of the clone in `folder` until the block ends; `elsewhere`: from another machine, if root may."""
    prefix = ON_ANOTHER_MACHINE if elsewhere and os.geteuid() == 0 else ()
    command = [*prefix, sys.executable, *WATCH[1:]]
    server = subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        said = server.stdout.readline()
        address = re.search(r"http\S+", said)
        assert address, said + server.communicate(timeout=60)[0]
        yield Page(address[0])
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
