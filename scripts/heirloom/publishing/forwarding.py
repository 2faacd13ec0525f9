"""Hand requests on to a server that listens at a socket of a private folder, where nobody else reaches it.

An ASGI application (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

import asyncio
from pathlib import Path

import httpx

from heirloom.publishing.token_check import Message, Receive, Send, refuse

HANDED_ON = (b"accept", b"content-type")
"""Headers of a request: none that names who asks."""
WAITING = 3600
"""Seconds for an answer that is not a stream: as long as the longest answer takes."""


class Forwarding:
    """An ASGI application that gives what another server answers, a stream as it comes."""

    def __init__(self, there: Path) -> None:
        """`there`: the socket at which the other server listens."""
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(there)), base_url="http://behind", timeout=WAITING
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request; 502 where the other server has ended."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name in HANDED_ON]
        request = self.client.build_request(
            scope["method"], scope["path"], content=await body_of(receive), headers=headers
        )
        try:
            answer = await self.client.send(request, stream=True)
        except httpx.TransportError as error:
            await refuse(send, 502, "server_error", f"the engine gives no answer ({type(error).__name__})")
            return
        try:
            await self.give(answer, receive, send)
        finally:
            await answer.aclose()  # whoever no longer listens ends the answer

    async def give(self, answer: httpx.Response, receive: Receive, send: Send) -> None:
        """Send an answer on, until it ends or the asking side goes away."""
        kind = answer.headers.get("content-type", "application/json").encode()
        await send({"type": "http.response.start", "status": answer.status_code, "headers": [(b"content-type", kind)]})
        gone = asyncio.ensure_future(receive())
        try:
            async for part in answer.aiter_raw():
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    async def live(self, receive: Receive, send: Send) -> None:
        """Follow the beginning and the end of the server that this application is in."""
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await self.client.aclose()
        await send({"type": "lifespan.shutdown.complete"})


async def body_of(receive: Receive) -> bytes:
    """Return what a request says, whole."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
