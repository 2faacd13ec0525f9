"""What is handed on to a server at a socket, and what ends an answer early."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from heirloom.publishing.forwarding import Forwarding
from heirloom.publishing.token_check import LARGEST, Message

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def asked(
    folder: Path, behind: Handler, body: bytes = b"{}", gone_after: float = 60, method: str = "POST"
) -> list[Message]:
    """Return what a request is sent, of which the asking side goes away after some seconds."""

    async def ask() -> list[Message]:
        server = await asyncio.start_unix_server(behind, folder / "socket")
        sent: list[Message] = []
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await asyncio.sleep(gone_after)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer secret"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": "/v1/models", "headers": headers}
        await asyncio.wait_for(Forwarding(folder / "socket")(scope, receive, send), 20)
        await asyncio.sleep(0.1)
        server.close()
        return sent

    return asyncio.run(ask())


def test_an_answer_is_given_part_by_part_and_the_token_is_not_handed_on(tmp_path: Path) -> None:
    heard = []

    async def two_parts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"{}"))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
        )
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        writer.close()

    start, *parts = asked(tmp_path, two_parts)
    assert (start["status"], start["headers"]) == (200, [(b"content-type", b"text/event-stream")])
    assert [part["body"] for part in parts] == [b"one", b"two", b""]
    assert b"secret" not in heard[0] and heard[0].startswith(b"POST /v1/models HTTP/1.1\r\n")


def test_whoever_goes_away_ends_the_answer_before_its_first_byte(tmp_path: Path) -> None:
    ended = []

    async def long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(await reader.read() == b"" or True)  # returns once the other side has closed
        writer.close()

    assert asked(tmp_path, long, gone_after=0.3) == []
    assert ended == [True]


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, 502), ({"body": b"x" * (LARGEST + 1)}, 413), ({"method": "DELETE"}, 405)],
)
def test_what_cannot_be_answered_is_said(tmp_path: Path, options: dict, status: int) -> None:
    async def dies(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    start, end = asked(tmp_path, dies, **options)
    assert start["status"] == status and b'"error"' in end["body"]


def test_an_answer_that_breaks_off_is_cut_and_no_trace(tmp_path: Path) -> None:
    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        writer.close()

    start, part = asked(tmp_path, breaks_off)
    assert start["status"] == 200 and part == {"type": "http.response.body", "body": b"one", "more_body": True}
