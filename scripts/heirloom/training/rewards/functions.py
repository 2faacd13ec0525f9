"""What an answer is worth: the functions that `training.rewards` names, and their weighted sum.

A reward function takes rows and returns a number for each. Rows are those of generations.jsonl: prompt, completion,
reference, completion_tokens, finish_reason (stop or length), row_id and sample. Nothing here imports torch.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from heirloom.config.sections.training import Reward
from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_metrics import answer_in
from heirloom.evaluation.math_answers import MathAnswers, check_installed
from heirloom.evaluation.numeric_match import last_number
from heirloom.evaluation.words import normalised
from heirloom.user_functions import called, load_user_function

Row = dict[str, Any]
RewardFunction = Callable[[Sequence[Row]], Sequence[float]]


@dataclass(frozen=True)
class Rewards:
    """The rewards of a run, in the order of its file."""

    labels: tuple[str, ...]
    weights: tuple[float, ...]
    functions: tuple[RewardFunction, ...]
    unbounded: bool = False
    """Whether one of them is a reward model, whose 0 means nothing."""

    def parts(self, rows: Sequence[Row]) -> list[list[float]]:
        """Return for each row what each function gives, without weights.

        Raises HeirloomError when a function of the user's fails, or returns something else than a number a row.
        """
        columns = [function(rows) for function in self.functions]
        return [list(of_row) for of_row in zip(*columns, strict=True)]

    def total(self, parts: Sequence[float]) -> float:
        """Return the weighted sum of a row's parts."""
        return math.fsum(weight * part for weight, part in zip(self.weights, parts, strict=True))


def rewards_of(rewards: Sequence[Reward], longest: int, models: Mapping[str, RewardFunction] | None = None) -> Rewards:
    """Return what computes a run's rewards; `longest`: tokens of the longest answer (max_completion_length).

    `models`: the functions of the reward models that are named, by run. Raises HeirloomError when a function is not
    built in and not the user's either.
    """
    functions = tuple(
        function_of(reward, f"training.rewards[{index}]", longest, models or {}) for index, reward in enumerate(rewards)
    )
    return Rewards(
        tuple(reward.label for reward in rewards),
        tuple(float(reward.weight) for reward in rewards),
        functions,
        unbounded=any(reward.reward_model is not None for reward in rewards),
    )


def function_of(reward: Reward, place: str, longest: int, models: Mapping[str, RewardFunction]) -> RewardFunction:
    """Return the function of one reward; `place` is its key in the run's file."""
    if ":" in reward.function:
        own = load_user_function(reward.function, f"{place}.function")
        return lambda rows: users_numbers(own, f"{place}.function {reward.function}", rows)
    if reward.function == "exact_match":
        pattern = re.compile(normalised(reward.answer_pattern)) if reward.answer_pattern is not None else None
        return lambda rows: [float(same_answer(row, pattern)) for row in rows]
    if reward.function == "numeric_match":
        return lambda rows: [float(same_number(row)) for row in rows]
    if reward.function == "math_verify":
        check_installed(f"{place}.function")
        return MathAnswers()
    if reward.function == "format" and reward.pattern is not None:
        form = re.compile(normalised(reward.pattern))
        return lambda rows: [float(form.search(normalised(row["completion"])) is not None) for row in rows]
    if reward.function == "length":
        return lambda rows: [row["completion_tokens"] / longest for row in rows]
    if reward.function == "reward_model" and reward.reward_model in models:
        return models[reward.reward_model]
    raise HeirloomError(f"{place}.function: there is no reward {reward.function} with these keys (docs/training.md)")


def same_answer(row: Row, pattern: re.Pattern | None) -> bool:
    """Say whether a completion gives the reference's answer; where `pattern` finds none in one of them it does not."""
    wanted = answer_in(row["reference"], pattern)
    return wanted is not None and answer_in(row["completion"], pattern) == wanted


def same_number(row: Row) -> bool:
    """Say whether the last number of a completion is the reference's; one that cannot be read is none."""
    wanted = last_number(row["reference"])
    return wanted is not None and last_number(row["completion"]) == wanted


def users_numbers(function: Callable, place: str, rows: Sequence[Row]) -> list[float]:
    """Return what a user's function gives for `rows`. Raises HeirloomError unless that is a finite number for each."""
    found = called(function, place, [dict(row) for row in rows])
    if not isinstance(found, list | tuple) or len(found) != len(rows):
        said = f"a list of {len(found)}" if isinstance(found, list | tuple) else repr(found)[:80]
        raise HeirloomError(f"{place}: returned {said} for {len(rows)} rows; expected a list with a number for each")
    for row, value in zip(rows, found, strict=True):
        if not isinstance(value, Real) or not math.isfinite(value):
            raise HeirloomError(
                f"{place}: returned {value!r} for the answer {row['completion'][:60]!r} to {row['prompt'][-60:]!r}; "
                "expected a finite number"
            )
    return [float(value) for value in found]
