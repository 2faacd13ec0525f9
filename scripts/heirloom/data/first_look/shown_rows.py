"""A few finished rows as text for a terminal, what is trained on between « and »."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.processed_dataset import load_split, read_description
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.errors import plain

ANSWER = ("prompt", "completion")
LONGEST = 2000
"""Characters of a text that are shown."""
SHOWN = 3


def print_rows(dataset: Path, tokenizer: Path) -> None:
    """Print the first rows of a processed dataset. Raises HeirloomError when it is none."""
    for number, text in enumerate(shown_rows(dataset, Tokenizer(tokenizer), SHOWN), 1):
        print(f"\n--- row {number} ---\n{plain(text)}")


def shown_rows(dataset: Path, tokenizer: Tokenizer, count: int) -> Iterator[str]:
    """Yield the first rows of a processed dataset. Raises HeirloomError when it is none."""
    kind = read_description(dataset)["kind"]
    rows = load_split(dataset, "train")
    for row in rows.select(range(min(count, len(rows)))):
        yield "\n".join(parts(row, kind, tokenizer))


def parts(row: dict[str, Any], kind: str, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the texts of a row."""
    if kind == "preference":
        for name in ("prompt", "chosen", "rejected"):
            text = tokenizer.backend.decode(row[f"{name}_ids"], skip_special_tokens=False)
            yield f"{name}: {text[:LONGEST]}" if name == "prompt" else f"{name}: «{text[:LONGEST]}»"
        return
    if kind == "labelled":
        prompt, answer = (tokenizer.backend.decode(row[f"{name}_ids"], skip_special_tokens=False) for name in ANSWER)
        yield f"prompt: {prompt[:LONGEST]}"
        yield f"{'good' if row['label'] else 'bad'}: «{answer[:LONGEST]}»"
        return
    labels = row.get("labels") or row["input_ids"]
    if kind == "seq2seq":
        yield f"source: {tokenizer.backend.decode(row['input_ids'], skip_special_tokens=False)[:LONGEST]}"
        yield f"target: «{tokenizer.backend.decode(labels, skip_special_tokens=False)[:LONGEST]}»"
        return
    yield masked(row["input_ids"], labels, tokenizer)[:LONGEST]


def masked(ids: Sequence[int], labels: Sequence[int], tokenizer: Tokenizer) -> str:
    """Return the text of token ids, those that are trained on between « and »."""
    texts = []
    for trained, run in groupby(zip(ids, labels, strict=True), key=lambda pair: pair[1] != IGNORED):
        text = tokenizer.backend.decode([token for token, _ in run], skip_special_tokens=False)
        texts.append(f"«{text}»" if trained else text)
    return "".join(texts)
