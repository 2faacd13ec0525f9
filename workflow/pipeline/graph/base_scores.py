"""What a base gives to held-out rows, computed once for all runs that are compared with it.

It follows from the base, the rows, and how the model computes, and from no run. So it is one artifact a metric,
`base_scores/BASE-on-ROWS-xxxxxxxx.json`, and its command has the settings themselves in place of a run's file: a run
that comes or goes changes neither its name nor its inputs. A run that trains nothing is its base, and reads it as its
own.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from heirloom.config.reward_models import is_reward_model
from heirloom.config.sections.evaluation import REWARD
from pipeline.graph.answers import base_answers
from pipeline.graph.commands import command
from pipeline.graph.model_loading import PORTABLE, TRUST, attention_of, model_folders, portable, trust_of
from pipeline.graph.stages import Stage, each_once, shared_name

SCRIPT = "scripts/score_base.py"
FOLDER = "base_scores"
METRICS = ("perplexity", "preference", REWARD)
"""Those for which a model runs, as evaluation.metrics names them."""


def base_score_stages(runs: Iterable, project) -> Iterator[Stage]:
    """Let bases score the rows of the runs that are compared with them, each only once.

    What several runs share has the `resources:` of the first of them by name.
    """
    runs = list(runs)
    for metric in METRICS:
        for run, output in each_once(runs, partial(output_of, metric, project)):
            yield Stage(
                kind="scores",
                subject=Path(output).stem,
                cmd=scores_command(metric, run, project, output),
                inputs=read_for(metric, run, project),
                program=SCRIPT,
                outs=(output,),
                resources=run.resources.machines("evaluation").model_dump(exclude_none=True),
                first_run=run.name,
            )


def base_scores(run, project) -> dict[str, str]:
    """Return metric → file, of what a run's scores read of its base, or of itself where it trains nothing."""
    found = {metric: output_of(metric, project, run) for metric in METRICS}
    return {metric: output for metric, output in found.items() if output is not None}


def output_of(metric: str, project, run) -> str | None:
    """Return where the base's scores by a metric are; None when they are not asked for."""
    section = run.evaluation
    if section is None or metric not in section.metrics:
        return None
    if metric == "preference":
        asked = not is_reward_model(run.name, project.runs)
    else:
        asked = section.base or (run.trainer is None and metric == "perplexity")
    if not asked:
        return None
    (model, *_), (rows, *_) = read_for(metric, run, project).values()
    return f"{FOLDER}/{shared_name(Path(model).name, Path(rows).name, scores_command(metric, run, project))}.json"


def scores_command(metric: str, run, project, output: str | None = None) -> str:
    """Return the command that scores the rows by the base; without `output` what all of it follows from."""
    section = run.evaluation
    flags: dict[str, Any] = {"metric": metric}
    flags |= {name.replace("_", "-"): paths[0] for name, paths in read_for(metric, run, project).items()}
    flags |= {"batch_size": str(section.batch_size), PORTABLE: portable(run)}
    if metric == REWARD:
        trusted = trust_of(run, project) or trust_of(project.runs[section.reward_model], project)
        flags |= {TRUST: trusted, "attn_implementation": section.attn_implementation}
    else:
        flags |= {TRUST: trust_of(run, project), "attn_implementation": attention_of("evaluation", run, project)}
    return command("torchrun", SCRIPT, None, [], **flags, output=output)


def read_for(metric: str, run, project) -> dict[str, tuple[str, ...]]:
    """Return the artifacts that are read, by name: the folders of the model, and the rows."""
    section = run.evaluation
    if metric == REWARD:
        answers = base_answers(run, project)
        assert answers is not None, "evaluation.base is there, and reward is a metric of answers"
        return {"reward_model": model_folders(section.reward_model, project), "generations": (answers,)}
    rows = section.dataset if metric == "perplexity" else section.preference_dataset
    dataset = f"data/processed/{rows or run.dataset}"
    return {"checkpoint": model_folders(run.base, project), "dataset": (dataset,)}
