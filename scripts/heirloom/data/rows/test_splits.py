"""Draw the test split: the same rows on every machine, and rows with equal prompts never on two sides."""

import hashlib
import heapq
import json
from collections.abc import Iterable
from typing import Any


def prompt_hash(prompt: Any, seed: int) -> int:
    """Return a 64-bit number for a prompt (JSON); a hash rather than a random number, so that no library's
    generator decides, and equal prompts get equal numbers."""
    text = json.dumps(prompt, sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def test_threshold(hashes: Iterable[int], count: int) -> int:
    """Return the largest hash that is still in a test split of `count` rows (a few more where prompts repeat)."""
    smallest = heapq.nsmallest(count, hashes)
    return smallest[-1] if smallest else -1
