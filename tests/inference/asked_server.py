"""A server that scripts/serve.py has begun, and questions to it."""

import json
import re
import subprocess
import urllib.request
from typing import NamedTuple
from urllib.error import HTTPError


class Server(NamedTuple):
    """A server that answers."""

    process: subprocess.Popen
    url: str
    token: str

    def ask(self, path: str, body: dict | None = None, token: str | None = None) -> tuple[int, dict]:
        """Return status and answer; with the right token unless another is given."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token}"}
        request = urllib.request.Request(
            f"{self.url}{path}", None if body is None else json.dumps(body).encode(), headers
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.loads(error.read())


def begun(process: subprocess.Popen) -> Server:
    """Return the server of a process once it says where it answers."""
    said = ""
    while "Ctrl-C ends it" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return Server(process, re.search(r" at (http://127\.0\.0\.1:\d+)/v1", said)[1], re.search(r"token: (\S+)", said)[1])
