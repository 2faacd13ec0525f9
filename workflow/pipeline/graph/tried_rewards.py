"""Rewards that are tried before a training learns from them: `metrics/rewards/RUN.json`.

What a reward gives follows from its keys, its code and the rows. So the command has these keys in place of a run's
file, and a new learning rate tries nothing again. It needs the tokenizer alone, and no base that is trained before.
"""

import json
from collections.abc import Iterator
from itertools import chain

from heirloom.config.before_training.tried_rewards import deciding_keys
from heirloom.config.trainers.table import TRAINERS
from pipeline.graph.commands import command
from pipeline.graph.model_loading import PORTABLE, TRUST, model_folders, portable, trust_of
from pipeline.graph.stages import Stage, user_code

SCRIPT = "scripts/try_rewards.py"
OF_ALL = ("image", "tags")
"""Keys of `resources:` that hold on any machine: a user's own rewards may need what the image has."""


def tried_rewards(run) -> str | None:
    """Return where it is told what a run's rewards gave when they were tried; None where it learns from none."""
    return f"metrics/rewards/{run.name}.json" if run.trainer is not None and TRAINERS[run.trainer].rewarded else None


def reward_stages(run, project) -> Iterator[Stage]:
    """Try the rewards of a run that learns from some: on a CPU, and where reward models are among them, on one
    machine of the training's kind.
    """
    metrics = tried_rewards(run)
    if metrics is None:
        return
    dataset, tokenizer = f"data/processed/{run.dataset}", f"tokenizers/{project.root_model(run.name)}"
    keys = deciding_keys(TRAINERS[run.trainer], run.training)
    folders, trusted = reward_model_folders(run, project), trust_with_reward_models(run, project)
    own = [file for reward in run.training.rewards for file in user_code(reward.function, SCRIPT)]
    judges = {"reward_models": tuple(chain.from_iterable(folders.values()))} if folders else {}
    machines = run.resources.machines("training").of_one_process().model_dump(exclude_none=True)
    yield Stage(
        kind="rewards",
        subject=run.name,
        cmd=command(
            "python",
            SCRIPT,
            None,
            [],
            dataset=dataset,
            tokenizer=tokenizer,
            training=json.dumps(keys, sort_keys=True),
            reward_models=folder_flags(folders),
            **{TRUST: trusted, PORTABLE: portable(run) if folders else None},
            metrics=metrics,
        ),
        inputs={"dataset": (dataset,), "tokenizer": (tokenizer,), **judges},
        program=SCRIPT,
        files=tuple(dict.fromkeys(own)),
        metrics=(metrics,),
        resources=machines if folders else {key: machines[key] for key in OF_ALL if key in machines},
    )


def reward_model_folders(run, project) -> dict[str, tuple[str, ...]]:
    """Return for each run whose reward model is a reward the folders that load it, its own the first."""
    return {name: model_folders(name, project) for name in run.training.reward_models}


def folder_flags(folders: dict[str, tuple[str, ...]]) -> list[str] | None:
    """Return the values of --reward_models; None where there are none."""
    return [f"{name}={paths[0]}" for name, paths in folders.items()] or None


def trust_with_reward_models(run, project) -> str | None:
    """Return the value of --trust_remote_code of a run and its reward models."""
    trusted = [trust_of(each, project) for each in (run, *(project.runs[name] for name in run.training.reward_models))]
    return next(filter(None, trusted), None)
