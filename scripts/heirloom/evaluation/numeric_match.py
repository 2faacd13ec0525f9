"""Whether an answer ends in the right number, as arithmetic word problems are scored (GSM8K, arXiv:2110.14168).

Numbers are read as people write them: 1,250.0 · 1 250 · 1'250 · 1{,}250 · 3/4 · 2 1/2 · ½ · \\frac{3}{4} · 6.02e23 ·
3×10^8 · 10² · −5 · –5 · -$5. Where a number is part of something else, such as 12:30, 1.2.3, x^2 or √2, its end alone
says nothing: that is no number here.
"""

import re
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_metrics import references

LARGEST_POWER = 999
SEPARATORS = (",", r"\{,\}", r"\\,", "[ \u00a0\u2009\u202f]", "['’]", "_")
"""What groups thousands; one number has one kind of them."""
GROUPED = "|".join(rf"\d{{1,3}}(?:{separator}\d{{3}})+(?!\d)" for separator in SEPARATORS)
DIGITS = rf"(?:{GROUPED}|\d+)"
PLAIN = rf"(?:{DIGITS}(?:\.\d+)?|\.\d+)"
SIGN = r"(?:(?<![\w.)\]}])[-−–+])?"  # the hyphen of "10-12" is none
CURRENCY = r"(?:\\?[$€£¥₹]\s?)?"
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip
FRAC = r"\\[dt]?frac\s*"
NUMBER = re.compile(
    rf"(?P<sign>{SIGN}){CURRENCY}(?:"
    rf"(?P<whole>\d+)?\s*{FRAC}(?:\{{\s*(?P<over>{PLAIN})\s*\}}\s*\{{\s*(?P<under>{PLAIN})\s*\}}|(?P<o>\d)\s*(?P<u>\d))"
    rf"|(?:(?P<mixed>\d+)[ \u00a0-](?=\d+[/⁄]))?(?P<above>{PLAIN})\s?[/⁄]\s?(?P<below>{PLAIN})"
    rf"|(?P<units>\d+)?\s?(?P<vulgar>[{''.join(VULGAR)}])"
    rf"|(?P<factor>{PLAIN})\s?(?:[×x·*]|\\times|\\cdot)\s?10(?:\^\{{?(?P<ten>[-−]?\d{{1,3}})\}}?|(?P<small>⁻?[⁰¹²³⁴-⁹]+))"
    rf"|(?P<base>{PLAIN})(?:(?:\^|\*\*)\{{?(?P<power>[-−]?\d{{1,3}})\}}?|(?P<raised>⁻?[⁰¹²³⁴-⁹]+))"
    rf"|(?P<plain>{PLAIN})(?:[eE](?P<exponent>[-+−]?\d{{1,3}})(?!\d))?"
    r")"
)
PART_BEFORE = re.compile(r"(?:\d[.,:/⁄]?|[\w)\]}]\^\{?|\d[-−–]\d+[-−–]|√|\\sqrt(?:\[\w*\])?\{?|[-+−–]\d+\^\{?)$")
PART_AFTER = re.compile(r"(?:[.,:/⁄][.\d]|\^|\*\*|[⁰¹²³⁴-⁹]|[-−–]\d+[-−–]\d|\s*(?:√|\\sqrt|π|\\pi))")
"""What makes a number a part of something else: times, versions, dates, powers of letters, roots."""
OPEN_FRACTION = re.compile(rf"{FRAC}(?:(?!{FRAC}).)*$", re.DOTALL)


def numeric_matches(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Return for each row whether the last number of its completion equals the last one of its reference.

    A point starts decimals. A completion that ends in no number that can be read is wrong.
    Raises HeirloomError when a row has no reference, or one whose last number cannot be read.
    """
    expected = [last_number(reference) for reference in references(rows, "numeric_match")]
    without = [row for row, number in zip(rows, expected, strict=True) if number is None]
    if without:
        raise HeirloomError(
            f"evaluation.metrics: numeric_match finds no number that it can read at the end of {len(without)} of "
            f"{len(rows)} references, first in {without[0]['row_id']} ({without[0]['reference'][-60:]!r}): take it "
            "out, or answer prompts whose references end in a number such as 1,250.5 or 3/4"
        )
    return [last_number(row["completion"]) == number for row, number in zip(rows, expected, strict=True)]


def last_number(text: str) -> Fraction | None:
    """Return the last number in `text`; None when it holds none, or ends in one that is a part of something else."""
    found = next(iter(deque(NUMBER.finditer(text), maxlen=1)), None)
    if found is None or PART_BEFORE.search(text[: found.start()]) or PART_AFTER.match(text, found.end()):
        return None
    if found["over"] is None and found["o"] is None and in_fraction(text, found):
        return None
    try:
        number = value(found)
    except (ZeroDivisionError, OverflowError, ValueError):  # the last of 4,300 digits and more
        return None
    return -number if found["sign"] in ("-", "−", "–") else number


def in_fraction(text: str, found: re.Match) -> bool:
    """Say whether a number stands in a \\frac that is not made of two numbers alone."""
    opened = OPEN_FRACTION.search(text[: found.start()])
    if opened is None:
        return False
    inside = opened[0]
    return inside.count("{") > inside.count("}") or inside.rstrip().endswith("frac")


def value(found: re.Match) -> Fraction:
    """Return the number that a match of NUMBER stands for, without its sign. Raises ZeroDivisionError for 1/0."""
    part = found.groupdict()
    if part["over"] or part["o"]:
        return Fraction(part["whole"] or 0) + read(part["over"] or part["o"]) / read(part["under"] or part["u"])
    if part["above"]:
        return Fraction(part["mixed"] or 0) + read(part["above"]) / read(part["below"])
    if part["vulgar"]:
        return Fraction(part["units"] or 0) + Fraction(*VULGAR[part["vulgar"]])
    if part["factor"]:
        return read(part["factor"]) * Fraction(10) ** exponent(part["ten"] or part["small"])
    if part["base"]:
        return read(part["base"]) ** exponent(part["power"] or part["raised"])
    return read(part["plain"]) * Fraction(10) ** exponent(part["exponent"] or "0")


def read(digits: str) -> Fraction:
    """Return a number without sign and exponent, its thousands grouped or not."""
    return Fraction(re.sub("|".join(SEPARATORS), "", digits))


def exponent(digits: str) -> int:
    """Return a power, written large or small. Raises OverflowError for one that nobody means."""
    power = int(digits.translate(SUPERSCRIPTS).replace("−", "-"))
    if abs(power) > LARGEST_POWER:
        raise OverflowError
    return power
