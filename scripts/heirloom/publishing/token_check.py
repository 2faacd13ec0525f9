"""Let nobody ask a server who does not know its token, and nobody ask it for anything but answers.

A wrapper around any ASGI application (https://asgi.readthedocs.io/en/latest/specs/www.html), whichever engine is in it.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

SCHEME = b"bearer "
LARGEST = 16 << 20
"""Bytes of a question."""


def new_token() -> str:
    """Return a token that nobody can guess: 256 bits."""
    return secrets.token_urlsafe(32)


class TokenCheck:
    """An ASGI application that hands on what comes with the token and for one of `paths`, and refuses all else."""

    def __init__(self, application: Application, token: str, paths: Collection[str]) -> None:
        self.application, self.token, self.paths = application, token.encode(), frozenset(paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 401 without the token, 404 for other paths, 413 for a question of more than LARGEST bytes."""
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif not self.knows_token(scope):
            await refuse(send, 401, "invalid_api_key", "give the token that the server showed when it started")
        elif scope["path"] not in self.paths:
            await refuse(send, 404, "not_found", f"served are {', '.join(sorted(self.paths))}")
        elif content_length(scope) > LARGEST:
            await refuse(send, 413, "too_large", f"a question has at most {LARGEST} bytes, and says its length")
        else:
            await self.application(scope, receive, send)

    def knows_token(self, scope: Message) -> bool:
        """Tell whether a request has the token, in a time that does not depend on how much of it is right."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or given[0][: len(SCHEME)].lower() != SCHEME:
            return False
        return secrets.compare_digest(given[0][len(SCHEME) :].strip(), self.token)


def content_length(scope: Message) -> int:
    """Return how many bytes a request says that it has; more than any may have where it does not say."""
    if scope["method"] not in ("POST", "PUT", "PATCH"):
        return 0
    said = dict(scope["headers"]).get(b"content-length", b"")
    return int(said) if said.isdigit() else LARGEST + 1


async def refuse(send: Send, status: int, code: str, message: str) -> None:
    """Answer with an error in the form of OpenAI's API."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
