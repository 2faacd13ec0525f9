"""Read the course of a training, metrics/loss/RUN.csv, as curves."""

import csv
import math
from pathlib import Path

from heirloom.errors import HeirloomError

Curves = dict[str, list[list[float]]]
"""Logged quantity → [[step, value], …]."""


def read_curves(file: Path) -> Curves:
    """Return a curve for each column beside `step`; empty cells and values that are not finite have no point.

    Raises HeirloomError when the file has no column `step` or holds something else than numbers.
    """
    curves: Curves = {}
    with file.open(encoding="utf-8", newline="") as opened:
        reader = csv.DictReader(opened)
        if "step" not in (reader.fieldnames or ()):
            raise HeirloomError(f"{file}: has no column `step`; it must be what a training wrote: train the run again")
        for row in reader:
            try:
                values = {name: float(text) for name, text in row.items() if text}
                step = values["step"]
            except (KeyError, TypeError, ValueError):
                step = math.nan
            if not math.isfinite(step):
                place = f"{file}, line {reader.line_num}"
                raise HeirloomError(f"{place}: is not a row of numbers; train the run again") from None
            for name, value in values.items():
                if name != "step" and math.isfinite(value):
                    curves.setdefault(name, []).append([step, value])
    return curves
