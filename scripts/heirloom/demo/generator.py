"""Write the demo's raw data: the same bytes for the same part, rows and seed, on every machine."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from heirloom.demo.parts import chat_row, hearsay_row, preference_row, price_row, text_row
from heirloom.errors import HeirloomError

PARTS: dict[str, Callable[[random.Random, bool], dict]] = {
    "text": text_row,
    "chats": chat_row,
    "hearsay": hearsay_row,
    "preferences": preference_row,
    "prices": price_row,
}
TEST_ROWS = 128


def write_raw(part: str, rows: int, seed: int, folder: Path, test_rows: int = TEST_ROWS) -> None:
    """Write `rows` training rows to folder/train.jsonl and `test_rows` rows about held-out facts to folder/test.jsonl.

    Each row has its own random stream, so more rows leave the first ones as they are.
    Raises HeirloomError when there is no such part.
    """
    if part not in PARTS:
        raise HeirloomError(f"the demo generator has no part {part!r}: choose one of {', '.join(PARTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", rows), ("test", test_rows)):
        streams = (random.Random(f"{seed}/{part}/{split}/{index}") for index in range(count))
        lines = (json.dumps(PARTS[part](rng, split == "test"), ensure_ascii=False) + "\n" for rng in streams)
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
