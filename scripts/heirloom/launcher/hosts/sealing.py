"""Lines between two ends that know one secret: each proves that it does by a seal on every line that it sends.

Both ends begin with a nonce, in the open. The key of a seal is made of the secret, both nonces and who sends, and a
seal counts the lines before its own: what was heard on one connection opens on no other, and no line can be sent back,
repeated, moved or left out by whoever is between. Nothing is hidden from who listens: lines carry no secret.

The same file is in the executor plugin's container and in the launcher, which are installed apart; a test compares
them.
"""

import hmac
import re
import secrets

NONCE = re.compile(rb"[0-9a-f]{32}")
SEAL_LENGTH = 64
"""Hexadecimal digits of an HMAC-SHA256."""


class Seals:
    """One end's part of a connection: what it sends is closed, what comes is opened, in order."""

    def __init__(self, secret: bytes, purpose: str, is_head: bool) -> None:
        """PURPOSE names what the connection is for: one secret serves several."""
        assert len(secret) >= 16, "a secret that can be guessed"
        self._secret, self._purpose, self._is_head = secret, purpose.encode(), is_head
        self._keys: tuple[bytes, bytes] | None = None
        self._sent = self._opened = 0
        self.nonce = secrets.token_hex(16).encode()

    def agree(self, other: bytes) -> None:
        """Take the other end's nonce. Raises ValueError for what is none."""
        if not NONCE.fullmatch(other):
            raise ValueError("no nonce")
        nonces = (self.nonce, other) if self._is_head else (other, self.nonce)
        head, worker = (
            hmac.digest(self._secret, b" ".join((self._purpose, sender, *nonces)), "sha256")
            for sender in (b"head", b"worker")
        )
        self._keys = (head, worker) if self._is_head else (worker, head)

    @property
    def agreed(self) -> bool:
        """Whether the other end's nonce is there."""
        return self._keys is not None

    def close(self, line: bytes) -> bytes:
        """Return a line with its seal, to be sent next."""
        assert self._keys, "lines are sealed after both nonces are known"
        self._sent += 1
        return seal(self._keys[0], self._sent, line) + line

    def open(self, sealed: bytes) -> bytes:
        """Return the line that came next. Raises ValueError when its seal is not the one that it must have."""
        assert self._keys, "lines are opened after both nonces are known"
        self._opened += 1
        line = sealed[SEAL_LENGTH:]
        if not hmac.compare_digest(sealed[:SEAL_LENGTH], seal(self._keys[1], self._opened, line)):
            raise ValueError("it does not know this job's secret")
        return line


def seal(key: bytes, number: int, line: bytes) -> bytes:
    """Return the seal of the line with this number, from 1."""
    return hmac.digest(key, b"%d %b" % (number, line), "sha256").hex().encode()
