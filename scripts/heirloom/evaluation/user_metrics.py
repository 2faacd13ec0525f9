"""A user's own metric: `module:function` in evaluation.metrics, a function(rows) that returns scores.

`rows` are those of generations.jsonl, a list of dicts. What it may return: a number; a dict of numbers by name; or a
list with one number a row, whose mean is the score, which then has an interval.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.user_functions import called, load_user_function


def user_metric(name: str, rows: Sequence[dict[str, Any]], key: str) -> float | dict[str, float] | list[float]:
    """Return what the function `name` gives for `rows`; `key` of the config is blamed for mistakes.

    Raises HeirloomError when it fails, and when that is not what the module's docstring allows, or not finite.
    """
    result = called(load_user_function(name, key), f"{key} {name}", [dict(row) for row in rows])
    if isinstance(result, dict) and all(isinstance(part, str) for part in result):
        return {part: number(value, f"{key} {name}, {part}") for part, value in result.items()}
    if isinstance(result, list):
        if len(result) != len(rows):
            raise HeirloomError(f"{key} {name}: returned a list of {len(result)}; expected a number for each row")
        return [number(value, f"{key} {name}, row {index}") for index, value in enumerate(result)]
    return number(result, f"{key} {name}")


def number(value: Any, place: str) -> float:
    """Return `value` as a float. Raises HeirloomError that names `place` unless it is a finite number."""
    if not isinstance(value, Real) or not math.isfinite(value):
        raise HeirloomError(
            f"{place}: returned {value!r}; expected a finite number, a dict of them by name, or a list of one a row"
        )
    return float(value)
