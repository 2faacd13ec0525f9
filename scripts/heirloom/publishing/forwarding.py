"""Hand requests on to a server that listens at a socket of a private folder, where nobody else reaches it.

An ASGI application (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

import asyncio
from pathlib import Path

import httpx

from heirloom.publishing.token_check import LARGEST, Message, Receive, Send, refuse

HANDED_ON = (b"accept", b"content-type")
"""Headers of a request: none that names who asks."""
WAITING = 3600
"""Seconds for an answer that is not a stream: as long as the longest answer takes."""
ONE_EACH = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""How many answers are made at once is the other server's affair."""


class Forwarding:
    """An ASGI application that gives what another server answers, a stream as it comes."""

    def __init__(self, there: Path) -> None:
        """`there`: the socket at which the other server listens."""
        transport = httpx.AsyncHTTPTransport(uds=str(there), limits=ONE_EACH)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://behind", timeout=WAITING)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request; it ends where the asking side goes away, or this server ends."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        body = await body_of(receive)
        if scope["method"] not in ("GET", "POST"):
            await refuse(send, 405, "not_allowed", "questions are asked by GET and POST")
        elif body is None:
            await refuse(send, 413, "too_large", f"a question has at most {LARGEST} bytes")
        else:
            answer = Answer(send)
            tasks = [asyncio.ensure_future(answer.give(self.client, scope, body)), asyncio.ensure_future(receive())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:  # the server ends, and waits no longer
                await answer.break_off("the server ends")
            finally:
                for task in tasks:
                    task.cancel()  # the other server then ends its answer
                await asyncio.gather(*tasks, return_exceptions=True)

    async def live(self, receive: Receive, send: Send) -> None:
        """Follow the beginning and the end of the server that this application is in."""
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await self.client.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class Answer:
    """What is sent to whoever asks."""

    def __init__(self, send: Send) -> None:
        self.send, self.begun = send, False

    async def give(self, client: httpx.AsyncClient, scope: Message, body: bytes) -> None:
        """Ask the other server, and send on what it answers; 502 where it has ended."""
        headers = [(name, value) for name, value in scope["headers"] if name in HANDED_ON]
        headers.append((b"accept-encoding", b"identity"))
        try:
            async with client.stream(scope["method"], scope["path"], content=body, headers=headers) as answer:
                kind = answer.headers.get("content-type", "application/json").encode()
                start = {"type": "http.response.start", "status": answer.status_code}
                await self.send(start | {"headers": [(b"content-type", kind)]})
                self.begun = True
                async for part in answer.aiter_raw():
                    await self.send({"type": "http.response.body", "body": part, "more_body": True})
            await self.send({"type": "http.response.body", "body": b""})
        except httpx.TransportError as error:
            await self.break_off(f"the engine gives no answer ({type(error).__name__})")

    async def break_off(self, why: str) -> None:
        """Say why there is no answer, unless a part of one was sent: then it is cut."""
        if not self.begun:
            self.begun = True
            await refuse(self.send, 502, "server_error", why)


async def body_of(receive: Receive) -> bytes | None:
    """Return what a request says, whole; None where it is longer than any may be."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        parts.append(part)
        if size > LARGEST:
            return None
        if not message.get("more_body"):
            return b"".join(parts)
