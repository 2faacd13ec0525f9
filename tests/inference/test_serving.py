"""scripts/serve.py: OpenAI's API on the loopback, for whoever has the token; a run's template and end tokens."""

import asyncio
import importlib.util
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked_server import Server, begun
from tiny_place import environment
from transformers import AutoModelForCausalLM, AutoTokenizer
from warm_start import warm_ranks

import serve
from heirloom.errors import HeirloomError
from heirloom.publishing import transformers_server
from heirloom.publishing.listening import listen, url_of
from heirloom.publishing.token_check import LARGEST, TokenCheck, new_token

installed = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "openai")),
    reason="`make setup-serve` installs fastapi, uvicorn and openai",
)
TALK = [{"role": "user", "content": "Ada found a kite."}]


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    warm = warm_ranks()
    process = subprocess.Popen(
        [warm["PYTHON_EXEC"], "scripts/serve.py", "whole", "--engine", "transformers", "--port", "0"],
        cwd=project, env=environment() | warm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    yield begun(process)
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def expected(project: Path) -> str:
    """What the checkpoint answers greedily, in plain transformers, up to the run's longest answer."""
    folder = project / "checkpoints/whole"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**ids, do_sample=False, max_new_tokens=8)
    return tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


@installed
def test_nobody_is_answered_without_the_token_or_for_anything_else(server: Server) -> None:
    for wrong in (server.token[:-1], server.token.upper(), "x", f"{server.token} {server.token}"):
        status, said = server.ask("/v1/models", token=wrong)
        assert status == 401 and said["error"]["code"] == "invalid_api_key"
    assert server.ask("/v1/models")[1]["data"][0]["id"] == "whole"
    assert server.ask("/health") == (200, {"status": "ok"})
    for path in ("/docs", "/openapi.json", "/v1/responses", "/load_model", "/reset", "/v1/models/../../reset"):
        assert server.ask(path, {"model": "owner/name"})[0] == 404


@installed
def test_the_client_of_openai_is_answered_as_the_run_answers(server: Server, expected: str, monkeypatch) -> None:
    import openai

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0)
    whole = client.chat.completions.create(model="whole", messages=TALK)
    assert whole.choices[0].message.content == expected and whole.model == "whole"
    assert whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 8
    parts = client.chat.completions.create(model="whole", messages=TALK, stream=True)
    streamed = [part.choices[0].delta.content or "" for part in parts]
    half = "\ufffd"  # the first bytes of a letter, with which an answer may end: a stream waits for the others
    assert "".join(streamed) == expected.rstrip(half) and len([part for part in streamed if part]) > 1
    drawn = {
        client.chat.completions.create(model="whole", messages=TALK, temperature=2, seed=seed)
        .choices[0]
        .message.content
        for seed in (1, 2, 3)
    }
    assert len(drawn) == 3
    text = client.completions.create(model="whole", prompt="user: Ada found a kite.\n", max_tokens=3)
    assert expected.startswith(text.choices[0].text) and text.usage.completion_tokens == 3
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError, match="not available from this server: n"):
        client.chat.completions.create(model="whole", messages=TALK, n=2)
    with pytest.raises(openai.BadRequestError, match="tokens, and the model has 128 positions"):
        client.completions.create(model="whole", prompt="Ada found a kite. " * 100)
    with pytest.raises(openai.BadRequestError, match="the request cannot be answered: KeyError: 'role'"):
        client.chat.completions.create(model="whole", messages=[{"content": "?"}])


@installed
def test_ctrl_c_ends_it_quietly(server: Server) -> None:
    server.process.send_signal(signal.SIGINT)
    said, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 0 and said.strip() == "stopped"


@pytest.fixture
def refused(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the program in this process and return why it serves nothing."""

    def run(*words: str) -> str:
        monkeypatch.setattr(serve, "__file__", str(project / "scripts/serve.py"))
        monkeypatch.setattr(sys, "argv", ["serve.py", *words])
        monkeypatch.chdir(project)
        with pytest.raises(SystemExit, match="^1$"):
            serve.main()
        error = capsys.readouterr().err
        assert error.startswith("error: serving ") and error.count("\n") == 1, error
        return error

    return run


def test_what_cannot_be_served_is_told_before_a_model_is_loaded(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no run is called whol; did you mean whole?" in refused("whol")
    assert "checkpoints/untrained was never made: `snakemake --config runs=untrained`" in refused("untrained")
    monkeypatch.setattr(transformers_server, "is_serve_available", lambda: False)
    assert "not all are installed: `make setup-serve`" in refused("whole", "--port", "0")
    assert "other machines would reach it" in refused("whole", "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken by another program" in refused("whole", "--port", port)


def test_addresses() -> None:
    with listen("localhost", 0, others=False) as here, listen("0.0.0.0", 0, others=True) as everywhere:
        assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):\d+", url_of(here))
        assert everywhere.getsockname()[0] == "0.0.0.0"
    for host, said in (("::", "other machines would reach it"), ("no such host", "is no address of this machine")):
        with pytest.raises(HeirloomError, match=said):
            listen(host, 0, others=False)
    with pytest.raises(HeirloomError, match="cannot be listened at"):
        listen("192.0.2.1", 0, others=True)  # an address of documentation, of no machine


def answered(check: TokenCheck, **scope: object) -> list[dict]:
    """Return what is sent in answer to a request."""
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(check({"type": "http", "path": "/v1/models", "method": "GET", "headers": [], **scope}, None, send))
    return sent


def test_a_request_gets_no_further_than_its_token_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    async def application(scope, receive, send) -> None:
        await send({"type": "reached", "status": 200})

    token = new_token()
    check = TokenCheck(application, token, ["/v1/models"])
    right = (b"authorization", b"Bearer " + token.encode())
    compared = []
    compare = secrets.compare_digest
    monkeypatch.setattr(secrets, "compare_digest", lambda one, two: compared.append((one, two)) or compare(one, two))
    for headers in (
        [],
        [right, right],
        [(b"authorization", b"Basic " + token.encode())],
        [(b"authorization", b"\xff")],
    ):
        assert answered(check, headers=headers)[0]["status"] == 401
    assert not compared
    assert answered(check, headers=[(b"authorization", b"Bearer \xff")])[0]["status"] == 401
    assert answered(check, headers=[right])[0]["status"] == 200 and len(compared) == 2
    assert answered(check, headers=[right], path="/v1/models/")[0]["status"] == 404
    large = (b"content-length", str(LARGEST + 1).encode())
    assert answered(check, headers=[right, large], method="POST")[0]["status"] == 413
    assert answered(check, headers=[right], method="POST")[0]["status"] == 413
    assert answered(check, type="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert len(token) >= 43 and token != new_token()
