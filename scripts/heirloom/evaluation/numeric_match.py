"""Whether an answer ends in the right number, as arithmetic word problems are scored (GSM8K, arXiv:2110.14168)."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_metrics import references

NUMBER = re.compile(
    r"(?:(?<![\w.)])[-−+])?"  # a sign; the hyphen of "10-12" is none
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"  # 1,234.5 · 1234.5 · .5
    r"(?:[eE][-+]?\d{1,3}(?!\d))?"
)


def numeric_matches(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Return for each row whether the last number of its completion equals the last one of its reference.

    A comma groups thousands and a point starts decimals: 1,250.0 equals 1250. A completion without a number is wrong.
    Raises HeirloomError when a row has no reference, or one without a number.
    """
    expected = [last_number(reference) for reference in references(rows, "numeric_match")]
    without = [row["row_id"] for row, number in zip(rows, expected, strict=True) if number is None]
    if without:
        raise HeirloomError(
            f"evaluation.metrics: numeric_match finds no number in {len(without)} of {len(rows)} references, first in "
            f"{without[0]}: take it out, or answer prompts whose references hold one"
        )
    return [last_number(row["completion"]) == number for row, number in zip(rows, expected, strict=True)]


def last_number(text: str) -> Decimal | None:
    """Return the last number in `text`; None when it holds none."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "").replace("−", "-")) if found else None
