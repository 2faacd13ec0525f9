"""The page's server: Python's own, on the loopback, for who knows the secret in its address, and to read only.

Two addresses there are, the page and its state; no file is served by its path. Another name in the header `Host` is
refused: a page from elsewhere could make its own name lead to this machine (DNS rebinding).
"""

import errno
import json
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from heirloom.errors import HeirloomError
from heirloom.report.page import part
from pipeline.paths import ROOT
from pipeline.watch.running import launches
from pipeline.watch.state import NOTHING_RUNS, Watcher

LOOPBACK = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
"""What `Host` may say, with any port: one of another machine may be forwarded here by ssh."""
PAGE = Path(__file__).parent / "page"
SECONDS_FOR_A_REQUEST = 10
POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def serve(port: int = 0) -> None:
    """Serve the page until Ctrl-C, at a port or at any that is free. Raises HeirloomError where it cannot be had."""
    try:
        server = WatchServer(port)
    except OverflowError:
        raise HeirloomError(f"PORT={port}: expected a number from 1 to 65535, or none for any that is free") from None
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken by another program" if taken else f"cannot be listened at ({error.strerror})"
        raise HeirloomError(f"port {port} {why}: `make watch PORT=…` with another one, or without for any") from error
    with server:
        print(f"{ROOT.name}: {server.address}  (Ctrl-C ends it)", flush=True)
        if not launches():
            print(NOTHING_RUNS, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nthe page is closed; what runs goes on", flush=True)


class WatchServer(ThreadingHTTPServer):
    """A secret, and a watcher whom one request asks at a time."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.secret = secrets.token_urlsafe(32)
        self._watcher, self._alone = Watcher(), threading.Lock()
        super().__init__((LOOPBACK, port), Request)

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/{self.secret}/"

    def state(self) -> bytes:
        """Return the state as JSON."""
        with self._alone:
            return json.dumps(self._watcher.state(), allow_nan=False).encode()

    def handle_error(self, request, client_address) -> None:
        """Be silent about a browser that has gone; an error of ours the page shows."""


class Request(BaseHTTPRequestHandler):
    """One request; it is told of nowhere, since its address holds the secret."""

    server: WatchServer
    timeout = SECONDS_FOR_A_REQUEST
    server_version, sys_version = "heirloom", ""

    def parse_request(self) -> bool:
        """Refuse whatever is no GET."""
        if not super().parse_request():
            return False
        if self.command != "GET":
            self.refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this page can only be read")
        return self.command == "GET"

    def do_GET(self) -> None:
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in HOSTS:
            self.refuse(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
            return
        _, secret, rest = (*self.path.split("/", 2), "", "")[:3]
        if not secrets.compare_digest(secret.encode(), self.server.secret.encode()) or rest not in ("", "state.json"):
            self.refuse(HTTPStatus.NOT_FOUND, "there is nothing here: the whole address stands in the terminal")
        elif rest:
            self.answer_state()
        else:
            nonce = secrets.token_urlsafe(16)
            self.answer(HTTPStatus.OK, "text/html", page(nonce), POLICY.format(nonce))

    def answer_state(self) -> None:
        try:
            state = self.server.state()
        except Exception as error:  # a file of another form than anybody thought of; the next look may do
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
        else:
            self.answer(HTTPStatus.OK, "application/json", state)

    def refuse(self, status: HTTPStatus, sentence: str) -> None:
        self.answer(status, "text/plain", f"{sentence}\n".encode())

    def answer(self, status: HTTPStatus, kind: str, body: bytes, policy: str = "default-src 'none'") -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def page(nonce: str) -> bytes:
    """Return the page, which holds no word of anybody's: what it shows it asks for, and sets as text."""
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    text = environment.get_template("watch.html.jinja").render(
        nonce=nonce,
        library=Markup("/*\n") + part("uplot/LICENSE") + Markup("*/\n") + part("uplot/uPlot.iife.min.js"),
        style=part("uplot/uPlot.min.css") + part("page.css") + own("watch.css"),
        script=own("watch.js"),
    )
    return text.encode()


def own(name: str) -> Markup:
    """Return a file of `page/` as it is."""
    return Markup((PAGE / name).read_text(encoding="utf-8"))
