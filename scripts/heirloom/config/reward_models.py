"""Runs whose checkpoint is a reward model: what cannot be asked of them, and what of the runs that they score."""

from collections.abc import Iterator, Mapping

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.run import Run
from heirloom.config.sections.evaluation import REWARD
from heirloom.config.trainers.table import TRAINERS

Keys = tuple[str | int, ...]
WHAT_IT_IS = "is a reward model, which gives a text one number and writes nothing"
MEASURED = "preference"
"""The metric of a checkpoint that a reward model has too: of held-out pairs."""


def trained_by(run: Run | None, runs: Mapping[str, Run]) -> Run | None:
    """Return the run whose checkpoint a run stands for: itself, or of one that trains nothing the base it scores.

    None where that is a model, or a mistake elsewhere hides it.
    """
    seen: list[Run] = []
    while run is not None and run.trainer is None and run not in seen:
        seen.append(run)
        run = runs.get(run.base)
    return run if run is not None and run.trainer is not None else None


def is_reward_model(name: str | None, runs: Mapping[str, Run]) -> bool:
    """Say whether the checkpoint that the name of a run, or of a model, stands for is a reward model."""
    trained = trained_by(runs.get(name or ""), runs)
    return trained is not None and TRAINERS[trained.trainer].scores


def reward_model_problems(run: Run, runs: Mapping[str, Run]) -> Iterator[tuple[Keys, str]]:
    """Yield what is asked of a reward model that only a model which writes can do."""
    if run.trainer is not None and is_reward_model(run.base, runs) and not TRAINERS[run.trainer].scores:
        able = " or ".join(name for name, trainer in TRAINERS.items() if trainer.scores)
        yield (
            ("base",),
            f"{run.base} {WHAT_IT_IS}, so trainer: {run.trainer} cannot train it, only {able}; choose another base",
        )
    if not is_reward_model(run.name, runs):
        return
    whose = "its checkpoint" if run.trainer is not None else run.base
    for key in ("generation", "lm_eval"):
        if run.given(key):
            yield (key,), f"{whose} {WHAT_IT_IS}; delete it, or let another run answer"
    if run.evaluation is None:
        return
    for index, metric in enumerate(run.evaluation.metrics):
        if metric == REWARD:
            problem = f"{whose} {WHAT_IT_IS}: ask for {REWARD} in the run that it is to score; here use {MEASURED}"
            yield ("evaluation", "metrics", index), problem
        elif metric != MEASURED:
            yield ("evaluation", "metrics", index), f"{whose} {WHAT_IT_IS}, so {metric} cannot be; use {MEASURED}"
    for key in ("base", "beta", "against"):
        if key in run.evaluation.model_fields_set:
            yield ("evaluation", key), f"has no effect: {whose} {WHAT_IT_IS}, by which pairs are measured; delete it"


def named_reward_models(run: Run) -> Iterator[tuple[Keys, str]]:
    """Yield the keys that name a reward model, and the run that they name: of scores, and of a training's rewards."""
    if run.evaluation is not None and run.evaluation.reward_model is not None:
        yield ("evaluation", "reward_model"), run.evaluation.reward_model
    for index, reward in enumerate(run.training.rewards or () if run.training is not None else ()):
        if reward.reward_model is not None:
            yield ("training", "rewards", index, "reward_model"), reward.reward_model


def scoring_problems(run: Run, runs: Mapping[str, Run], roots: Mapping[str, str | None]) -> Iterator[tuple[Keys, str]]:
    """Yield what is wrong with the reward models that are to score a run's answers, or to be what it learns from.

    `roots`: run → the model at the beginning of its chain.
    """
    for keys, name in named_reward_models(run):
        other = runs.get(name)
        if other is None or not is_reward_model(name, runs):
            able = [each for each in runs if is_reward_model(each, runs)]  # of all runs, so only for a mistake
            if other is None:
                yield keys, f"there is no run {name}; {did_you_mean(name, able, 'reward models are')}"
            else:
                others = did_you_mean(name, able, "others are")
                yield keys, f"the run {name} trains no reward model (trainer: reward); {others}"
        elif run.enabled and other.enabled is False:
            yield keys, f"the run {name} has `enabled: false`, and its checkpoint is needed; enable it too"
        elif None not in (roots[run.name], roots[name]) and roots[run.name] != roots[name]:
            yield (
                keys,
                f"{name} stands on {roots[name]}, whose tokenizer reads the prompts of {roots[run.name]} otherwise; "
                f"name a reward model on {roots[run.name]}",
            )
