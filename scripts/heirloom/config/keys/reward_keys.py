"""What is wrong with `training.rewards`, and with the keys that say how answers are drawn for them."""

import re
from collections.abc import Iterator
from typing import Any

from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.sections.evaluation import USER_FUNCTION, regex_problem
from heirloom.config.sections.training import Reward, TrainingSection
from heirloom.config.trainers.spec import TrainerSpec

BUILT_IN = {
    "exact_match": ("answer_pattern",),
    "numeric_match": (),
    "math_verify": (),
    "format": ("pattern",),
    "length": (),
    "reward_model": ("reward_model",),
}
"""Function → the keys of its own."""
NEEDED = {
    "format": ("pattern", "give the regular expression that an answer in the right form matches"),
    "reward_model": ("reward_model", "name the run whose reward model (trainer: reward) scores the answers"),
}
"""Function → the key of its own that it cannot do without, and what to do."""
CHOICES = {
    "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
}
"""Keys whose choices stand in TRL's help alone; it looks at them when the first loss is computed."""
BOUNDS = {
    "temperature": (0, None, False), "top_p": (0, 1, False), "min_p": (0, 1, True), "top_k": (0, None, True),
    "max_completion_length": (1, None, True), "num_iterations": (1, None, True), "epsilon": (0, None, True),
    "epsilon_high": (0, None, True), "delta": (0, None, False), "sapo_temperature_neg": (0, None, False),
    "sapo_temperature_pos": (0, None, False),
}  # fmt: skip
"""Key → its least and its greatest value with a meaning, and whether the least is one."""
BY_MICRO_BATCH = (
    "divides by the tokens of one forward pass, so that what is learned would depend on the number of ranks"
)


def reward_problems(trainer: TrainerSpec, training: TrainingSection) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, problem) for rewards that are missing, unknown or without an effect."""
    if not trainer.rewarded:
        if training.rewards is not None:
            yield (
                "training.rewards",
                f"has no effect with trainer: {trainer.name}; use trainer: grpo or rloo, or delete it",
            )
        return
    if training.rewards is None:
        yield "training.rewards", "is missing; say what an answer is worth, e.g. `rewards: [{function: exact_match}]`"
        return
    labels = [reward.label for reward in training.rewards]
    for index, reward in enumerate(training.rewards):
        place = f"training.rewards.{index}"
        for key, problem in function_problems(reward):
            yield f"{place}.{key}", problem
        if reward.label in labels[:index]:
            yield f"{place}.name", f"{reward.label} is the name of two rewards; give this one another `name`"
        if "/" in reward.label or not reward.label:
            yield f"{place}.name", f"{reward.label!r} cannot name a curve; use letters, digits, - and _"
        if reward.weight == 0:
            yield f"{place}.weight", "0 has no effect; give another weight, or delete this reward"
    yield from sampling_problems(trainer, training.global_batch_size, training.passed_through)


def function_problems(reward: Reward) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) for a function that is not there, and for its keys."""
    name = reward.function
    if ":" in name and not re.fullmatch(USER_FUNCTION, name):
        yield "function", f"{name!r} must look like module:function, e.g. my_rewards:politeness"
    elif ":" not in name and name not in BUILT_IN:
        yield "function", f"there is no reward {name} here; {did_you_mean(name, BUILT_IN)} (your own: module:function)"
    for function, keys in BUILT_IN.items():
        for key in keys:
            pattern = getattr(reward, key)
            if pattern is None:
                continue
            if function != name:
                yield key, f"has no effect with function: {name}, only with {function}; delete it"
            elif key != "reward_model" and (problem := regex_problem(pattern)) is not None:
                yield key, problem
            elif key == "answer_pattern" and re.compile(pattern).groups < 1:
                yield key, "needs a group: put ( ) around what is the answer"
    if name in NEEDED and getattr(reward, NEEDED[name][0]) is None:
        yield NEEDED[name][0], f"is missing; {NEEDED[name][1]}"


def sampling_problems(trainer: TrainerSpec, batch: int, others: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, problem) for groups that the batch does not hold, and for losses that no batch can be cut for.

    `batch`: the answers of an optimizer step. `others`: the keys that go to TRL.
    """
    answers = others.get("num_generations", argument_schemas(trainer.name)["num_generations"]["default"])
    if answers is None:
        yield "training.num_generations", "is empty; give how many answers each prompt gets, or delete it"
    elif isinstance(answers, int) and answers < 2:
        yield "training.num_generations", f"{answers} answers to a prompt have nothing beside them; give at least 2"
    elif isinstance(answers, int) and batch % answers:
        said = "" if "num_generations" in others else ", TRL's default"
        yield (
            "training.global_batch_size",
            f"{batch} answers are no whole groups of num_generations {answers}{said}; give a multiple of {answers}, or "
            "change num_generations",
        )
    for key, (least, most, itself) in BOUNDS.items():
        value = others.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if value < least or (value == least and not itself) or (most is not None and value > most):
            bounds = f"{'at least' if itself else 'more than'} {least}" + (f" and at most {most}" if most else "")
            yield f"training.{key}", f"expected {bounds}, found {value}"
    for key, known in CHOICES.items():
        if isinstance(others.get(key), str) and others[key] not in known:
            yield f"training.{key}", f"there is no {others[key]}; {did_you_mean(others[key], known)}"
    if others.get("loss_type") == "bnpo":
        yield "training.loss_type", f"bnpo {BY_MICRO_BATCH}; use dapo, which divides by those of the step"
    if others.get("train_sampling_strategy", "random") != "random":
        yield "training.train_sampling_strategy", f"has no effect with trainer: {trainer.name}; delete it"
    for key in ("dataloader_drop_last", "label_smoothing_factor"):
        if others.get(key):
            yield f"training.{key}", f"has no effect with trainer: {trainer.name}; delete it"
