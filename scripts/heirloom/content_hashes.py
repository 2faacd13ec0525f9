"""One hash for the content of several files, which anybody can check with a shell."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILES_AT_A_TIME = 4  # hashing lets go of Python's lock, so threads run side by side


def content_hash(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the listing that `sha256sum` prints for the files, sorted by name, as 64 hex digits.

    In their folder, `LC_ALL=C sha256sum *.arrow | sha256sum` gives the same.
    """
    ordered = sorted(files, key=lambda file: file.name)
    with ThreadPoolExecutor(FILES_AT_A_TIME) as threads:
        digests = threads.map(file_hash, ordered)
    listing = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, ordered, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


def file_hash(file: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
