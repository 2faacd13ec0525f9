"""Every request that the server saw, for tests that count calls and search for planted secrets."""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Request:
    """One API request: `body` as sent, `error` the code of the refusal or None, `time` in epoch seconds."""

    operation: str
    headers: dict[str, str]
    body: bytes
    parameters: dict
    error: str | None = None
    time: float = field(default_factory=time.time)


class Recorder:
    """The requests in the order of their arrival; safe to read while the server runs."""

    def __init__(self):
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def __iter__(self):
        with self._lock:
            return iter(list(self._requests))

    def __len__(self) -> int:
        return len(self._requests)

    def of(self, operation: str) -> list[Request]:
        """The requests of one operation, refused ones too."""
        return [request for request in self if request.operation == operation]

    def containing(self, text: str | bytes) -> list[Request]:
        """The requests whose body or headers hold `text`: how a test looks for a secret that left the machine."""
        needle = text.encode() if isinstance(text, str) else text
        return [
            request
            for request in self
            if needle in request.body or any(needle in value.encode() for value in request.headers.values())
        ]
