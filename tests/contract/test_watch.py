"""`make watch` on a clone in which a stage runs, one has failed and others wait: what a browser shows, and to whom."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import axe_core
import pytest
from browser import find_browser
from clone import Clone
from pseudo_terminal import in_terminal
from watched_page import WATCH, Page, watching
from watched_processes import wait_for

NOTHING_RUNS = "Nothing runs in this clone now; what starts appears here by itself."
HOSTILE = "<img src=http://elsewhere.example/x onerror=document.title=1>\x1b[31m\u202e</pre><script>document.title=2"
"""A line on which a page or a terminal would act."""
SHOWN = "&lt;img src=http://elsewhere.example/x onerror=document.title=1&gt;\\x1b[31m\\x202e&lt;/pre&gt;"
TOLD = (
    "step 5/10  loss 0.5000  lr 1.00e-04  1,024 tokens/step  5,000 tokens/s  0:20:00 left\n"
    "step 5/10  held-out loss 0.7500, perplexity 2.12\n"
)


class Watched(NamedTuple):
    """A clone in which train-other waits half-way, after generate-sft has failed; and its page."""

    clone: Clone
    page: Page

    @property
    def address(self) -> str:
        return self.page.address


@pytest.fixture(scope="module")
def watched(made: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    clone = made.copy_to(tmp_path_factory.mktemp("watch") / "clone")
    clone.edit("config/runs/sft.yaml", "max_new_tokens: 4", "max_new_tokens: 5")
    assert clone.snakemake("--config", "runs=sft", FAIL="generate-sft").returncode == 1
    session = clone.start(
        "snakemake", "--config", "runs=other", "force=train-other", "--until", "train", SLOW="train-other", STEPS="2"
    )
    try:
        with watching(clone.folder, clone.environment({})) as page:
            clone.wait_until_slow(session)
            with (clone.folder / "logs/train-other.log").open("a") as log:
                log.write(f"{HOSTILE}\n{TOLD}")
            wait_for(lambda: page.state()["plan"] is None, seconds=60, every=0.5)
            yield Watched(clone, page)
    finally:
        clone.go_on()
        session.communicate(timeout=60)


def test_the_page_shows_what_runs_what_failed_and_what_waits(watched: Watched, tmp_path: Path) -> None:
    look = find_browser(tmp_path).visit(watched.address)
    assert look.console == []
    text = re.sub(r"<style.*?</style>|<script.*?</script>", "", look.document, flags=re.DOTALL)
    running, failed, waiting = (re.search(rf'<section id="{name}".*?</section>', text, re.DOTALL)[0] for name in (
        "running", "failed", "waiting"))  # fmt: skip
    for shown in ("<h3>train-other</h3>", "step 5/10", "left</strong>", "here for", "lr 1.00e-4",
                  "1,024 tokens/step", "perplexity 2.12"):  # fmt: skip
        assert shown in running, f"{shown} is missing in {running}"
    assert running.count("<canvas") == 2  # losses; tokens/s
    assert 'aria-label="loss 0.5 at step 5, held-out loss 0.75 at step 5"' in running
    assert "this stage was told to fail" in failed and "logs/generate-sft.log" in failed
    assert re.search(r"report-sft</th><td[^>]*>\w+ \w+</td>", waiting), waiting
    assert "train-other" not in failed + waiting


@contextmanager
def served_with(script: str, watched: Watched) -> Iterator[str]:
    """Serve the page as it is, under its own policy, with one script more at its end; yield the address."""
    page, state = watched.page.ask(), watched.page.state()
    policy = page.headers["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    body = page.body.replace("</body>", f'<script nonce="{nonce}">{script}</script></body>')

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Content-Type", "application/json" if self.path.endswith("json") else "text/html")
            self.end_headers()
            self.wfile.write((json.dumps(state) if self.path.endswith("json") else body).encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_axe_finds_no_violation(watched: Watched, tmp_path: Path) -> None:
    shown = "['#stages canvas', '#failures h3', '#plan-rows tr'].every((part) => document.querySelector(part))"
    with served_with(axe_core.examination(shown), watched) as address:
        look = find_browser(tmp_path).visit(address)
    assert look.console == []
    assert axe_core.EXAMINED in look.document


def test_what_a_log_says_is_inert_and_the_page_asks_nobody_else(watched: Watched, tmp_path: Path) -> None:
    look = find_browser(tmp_path).visit(watched.address)
    assert "<title>50 % · clone · Heirloom</title>" in look.document
    assert SHOWN in look.document
    assert "<img" not in look.document
    answer = watched.page.ask()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    nonce = policy.pop("script-src")
    assert re.fullmatch(r"'nonce-[\w-]{20,}'", nonce) and policy.pop("style-src") == nonce
    assert policy == {
        "default-src": "'none'", "img-src": "data:", "connect-src": "'self'", "base-uri": "'none'",
        "form-action": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert nonce not in watched.page.ask().headers["Content-Security-Policy"]
    assert (answer.headers["Referrer-Policy"], answer.headers["Cache-Control"]) == ("no-referrer", "no-store")


def test_nobody_without_the_secret_and_by_no_other_name(watched: Watched) -> None:
    path = urlsplit(watched.address).path
    for wrong in ("/", "/state.json", path[:-2], path.upper(), f"{path}../../README.md", f"{path}watch.js", "//", "x"):
        assert watched.page.ask(wrong).status == 404, wrong
    for host in ("elsewhere.example", "elsewhere.example:80", "127.0.0.1.elsewhere.example", "0.0.0.0", " "):
        answer = watched.page.ask(host=host)
        assert (answer.status, "train-other" in answer.body) == (403, False), host
    assert watched.page.ask(host="localhost:1234").status == 200  # forwarded by ssh
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "ODD"):
        assert watched.page.ask(method=method).status == 405, method
    assert len(path) > 32


def test_the_server_listens_on_the_loopback_alone_and_reads_only(watched: Watched) -> None:
    before = subprocess.run(["git", "status", "--porcelain"], cwd=watched.clone.folder, capture_output=True, check=True)
    watched.page.state()
    after = subprocess.run(["git", "status", "--porcelain"], cwd=watched.clone.folder, capture_output=True, check=True)
    assert before.stdout == after.stdout
    port = f"{urlsplit(watched.address).port:04X}"
    listening = [
        line.split()[1]
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port}") and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F:{port}"]


def test_a_port_that_is_taken_is_one_sentence(watched: Watched) -> None:
    port = str(urlsplit(watched.address).port)
    done = watched.clone.run(*WATCH, "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: port {port} is taken by another program: `make watch PORT=…` with another one, or without for any\n"
    )


def test_a_clone_in_which_nothing_runs_is_told_and_control_c_ends_it_in_a_line(fresh: Clone) -> None:
    looks = iter([False] * 60 + [True] * 1000)
    code, text = in_terminal([*WATCH], fresh.folder, fresh.environment({}), 120, lambda: next(looks))
    address, nothing, end = (
        line.removeprefix("^C").strip() for line in text.strip().replace("^C\r\n", "").splitlines()
    )
    assert re.fullmatch(r"\S+: http://127\.0\.0\.1:\d+/[\w-]+/  \(Ctrl-C ends it\)", address)
    assert (nothing, end, code) == (NOTHING_RUNS, "the page is closed; what runs goes on", 0)
