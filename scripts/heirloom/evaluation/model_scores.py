"""What a model gave to rows, by a pass over each: computed once, kept in a file, read by all who compare with it.

A base's are a stage of their own (scripts/score_base.py); a run's own are computed where its scores are.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json

REMEDY = "make them again by scripts/score_base.py"


@dataclass(frozen=True)
class ModelScores:
    """What a model gave to rows, in their order."""

    rows: str
    """A digest of the rows: those that were made anew, or cut otherwise, have another."""
    prompts: list[str]
    """What names each row."""
    values: list[Any]
    """perplexity: nats and counted tokens; preference: log-probabilities (nats) of the chosen and the rejected answer;
    reward: a number."""
    origin: Path
    """The model that gave them, or the file that they were read from."""


def digest_of(rows: Iterable[Any]) -> str:
    """Return a digest of rows of token ids or texts."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def write_model_scores(file: Path, metric: str, scores: ModelScores) -> None:
    """Write what a model gave to rows, every number to its last bit."""
    content = {"metric": metric, "rows": scores.rows, "prompts": scores.prompts, "values": scores.values}
    file.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_model_scores(files: Sequence[Path]) -> dict[str, ModelScores]:
    """Return what such files hold, by metric. Raises HeirloomError for a file that holds something else, and for two of
    one metric.
    """
    found: dict[str, ModelScores] = {}
    for file in files:
        metric, scores = read_one(file)
        if metric in found:
            raise HeirloomError(
                f"{file}: holds {metric}, and so does another file that is given: leave one of them out"
            )
        found[metric] = scores
    return found


def read_one(file: Path) -> tuple[str, ModelScores]:
    content = read_json(file)
    metric, rows, prompts, values = (content.get(key) for key in ("metric", "rows", "prompts", "values"))
    ours = (
        isinstance(metric, str)
        and metric in VALUES
        and isinstance(rows, str)
        and isinstance(prompts, list)
        and isinstance(values, list)
    )
    if not ours or not values or len(prompts) != len(values) or not all(map(VALUES[metric], values)):
        raise HeirloomError(f"{file}: does not hold what a model gave to rows: {REMEDY}")
    return metric, ModelScores(rows, list(map(str, prompts)), values, file)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


VALUES = {"perplexity": is_pair, "preference": is_pair, "reward": is_number}
"""What a row's value looks like, by metric."""


def of_the_same_rows(base: ModelScores, own: ModelScores) -> ModelScores:
    """Return what the base gave. Raises HeirloomError where it is of other rows than the run's own."""
    if (base.rows, base.prompts) != (own.rows, own.prompts):
        raise HeirloomError(
            f"{base.origin}: the base's scores are of other rows than those the checkpoint is scored on: {REMEDY}"
        )
    return base
