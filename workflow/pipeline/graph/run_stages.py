"""Stages of a run: training, scores, report; its answers and those of its base are in pipeline.graph.answers."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from heirloom.code_closure import PROJECT
from heirloom.config.sections.evaluation import CHECKPOINT_METRICS
from heirloom.config.sections.gates import parse_gate
from heirloom.config.trainers.table import TRAINERS
from heirloom.errors import HeirloomError
from heirloom.report.run_config import REPORTED
from pipeline.graph.answers import base_answers, generate_stage, shared_prompts
from pipeline.graph.base_scores import base_scores
from pipeline.graph.commands import command
from pipeline.graph.model_loading import (
    PORTABLE,
    TRUST,
    chain_of,
    checkpoint_of,
    deepspeed_file,
    loading_flags,
    model_folders,
    portable,
    trust_of,
)
from pipeline.graph.packed_rows import packed_rows
from pipeline.graph.reference_scores import reference_scores
from pipeline.graph.stages import Stage, present, user_code
from pipeline.graph.tried_rewards import (
    folder_flags,
    reward_model_folders,
    reward_stages,
    tried_rewards,
    trust_with_reward_models,
)

REPORT_PARTS = tuple(
    f"scripts/heirloom/report/page/{part}"
    for part in (
        *("all_runs.js", "curves.js", "page.css", "page.html.jinja", "page.js"),
        *("uplot/LICENSE", "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css"),
    )
)
SAMPLES = "samples"
"""Folder of a folder a run: what its checkpoint answered to each question of the harness."""
OTHERS = ("against_evaluation", "against_harness")
GATE_INPUTS = ("evaluation", "harness", *OTHERS)
PAGE_OF_ALL_RUNS = "index"
"""reports/index.html is made by `make report`, so no run can have that name."""


def run_stages(run, project) -> Iterator[Stage]:
    """Train a run's base on its dataset, generate from the result, evaluate it."""
    path = str(run.path)
    dataset = f"data/processed/{run.dataset}"
    checkpoint = checkpoint_of(run.name, project)
    if run.trainer is not None:
        trainer = TRAINERS[run.trainer]
        script = trainer.script
        if not (PROJECT / script).exists():
            raise HeirloomError(f"trainer {run.trainer} needs {script}, which is not here: `git checkout {script}`")
        sections = present(run, *trainer.sections(run.predicts_with_generate))
        deepspeed = deepspeed_file(run)
        metrics, loss = f"metrics/training/{run.name}.json", f"metrics/loss/{run.name}.csv"
        completions = completions_of(run)
        base = checkpoint_of(run.base, project)
        scores, packed = reference_scores(run, project), packed_rows(run)
        rewards = run.training.rewards or ()
        own = [file for reward in rewards for file in user_code(reward.function, script)]
        judges, tried = reward_model_folders(run, project), tried_rewards(run)
        yield from reward_stages(run, project)
        yield Stage(
            kind="train",
            subject=run.name,
            cmd=command(
                "torchrun",
                script,
                run,
                sections,
                dataset=dataset,
                base=base,
                deepspeed=deepspeed,
                reference_scores=scores,
                packed_rows=packed,
                reward_models=folder_flags(judges),
                tried_rewards=tried,
                trust_remote_code=trust_with_reward_models(run, project),
                portable=portable(run),
                output=checkpoint,
                metrics=metrics,
                loss=loss,
                completions=completions,
            ),  # fmt: skip
            inputs={"dataset": (dataset,), "base": model_folders(run.base, project)}
            | ({"reference_scores": (scores,)} if scores is not None else {})
            | ({"packed_rows": (packed,)} if packed is not None else {})
            | ({"reward_models": tuple(chain.from_iterable(judges.values()))} if judges else {})
            | ({"tried_rewards": (tried,)} if tried is not None else {}),
            program=script,
            files=((deepspeed,) if deepspeed else ()) + tuple(dict.fromkeys(own)),
            params={path: tuple(sections)} if sections else {},
            outs=(checkpoint, *([completions] if completions is not None else [])),
            metrics=(metrics,),
            plots={loss: {"x": "step", "y": "loss", "title": f"training loss of {run.name}"}},
            resources=run.resources.machines("training").model_dump(exclude_none=True),
        )
    if run.generation is not None:
        yield generate_stage(run, project)
    if run.evaluation is not None:
        inputs, flags = evaluation_inputs(run, project)
        script = "scripts/evaluate_model.py"
        own = [file for _, name in run.evaluation.user_functions for file in user_code(name, script)]
        metrics = f"metrics/evaluation/{run.name}.json"
        how = scoring_flags(run, project)
        yield Stage(
            kind="evaluate",
            subject=run.name,
            cmd=command("torchrun", script, run, ["evaluation"], **flags, **how, metrics=metrics),
            inputs=inputs,
            program=script,
            files=tuple(dict.fromkeys(own)),
            params={path: ("evaluation",)},
            metrics=(metrics,),
            resources=run.resources.machines("evaluation").model_dump(exclude_none=True),
        )
    if run.lm_eval is not None:
        metrics = f"metrics/harness/{run.name}.json"
        script = "scripts/lm_eval_harness.py"
        how = loading_flags("lm_eval", run, project)
        samples = f"{SAMPLES}/{run.name}"
        of_base = {"base_metrics": (f"metrics/harness/{run.base}.json",), "base_samples": (f"{SAMPLES}/{run.base}",)}
        base = of_base if run.lm_eval.base else {}
        data = tuple(f"data/raw/{name}" for name in run.lm_eval.datasets or ())
        files = [path.rstrip("/") for path in (run.lm_eval.include_path, run.lm_eval.nltk_data) if path]
        yield Stage(
            kind="harness",
            subject=run.name,
            cmd=command(
                "torchrun",
                script,
                run,
                ["lm_eval"],
                checkpoint=checkpoint,
                data=list(data) or None,
                **{name.replace("_", "-"): paths[0] for name, paths in base.items()},
                **how,
                output=samples,
                metrics=metrics,
            ),  # fmt: skip
            inputs={"checkpoint": model_folders(run.name, project)} | ({"data": data} if data else {}) | base,
            program=script,
            files=tuple(files),
            params={path: ("lm_eval",)},
            outs=(samples,),
            metrics=(metrics,),
            resources=run.resources.machines("evaluation").model_dump(exclude_none=True),
        )
    if run.gates is not None:
        yield gate_stage(run)


def completions_of(run) -> str | None:
    """Return where a training leaves some of the answers that it learned from; None where it draws none."""
    return f"metrics/completions/{run.name}.jsonl" if TRAINERS[run.trainer].rewarded else None


def gate_stage(run) -> Stage:
    """Hold a run's scores against its gates; it fails where one is not kept."""
    script = "scripts/check_gates.py"
    inputs = gate_inputs(run)
    flags = {name: paths[0] for name, paths in inputs.items() if name not in OTHERS} | flags_of_others(inputs)
    metrics = f"metrics/gates/{run.name}.json"
    return Stage(
        kind="gate",
        subject=run.name,
        cmd=command("python", script, run, ["gates"], **flags, metrics=metrics),
        inputs=inputs,
        program=script,
        params={str(run.path): ("gates",)},
        metrics=(metrics,),
    )


def flags_of_others(inputs: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return the flags that give a program the metrics files of the runs which a gate names: RUN=FILE each."""
    named = {name: [f"{Path(path).stem}={path}" for path in inputs[name]] for name in OTHERS if name in inputs}
    return {name.replace("_", "-"): words for name, words in named.items()}


def gate_inputs(run) -> dict[str, tuple[str, ...]]:
    """Return the metrics files that decide a run's gates, its own and those of the runs that a gate names."""
    gates = [parse_gate(name, said) for name, said in run.gates.items()]
    found: dict[str, tuple[str, ...]] = {}
    for kind, of_harness in (("evaluation", False), ("harness", True)):
        of_kind = [gate for gate in gates if gate.of_harness == of_harness]
        if of_kind:
            found[kind] = (f"metrics/{kind}/{run.name}.json",)
        if others := dict.fromkeys(gate.than for gate in of_kind if gate.than is not None):
            found[f"against_{kind}"] = tuple(f"metrics/{kind}/{name}.json" for name in others)
    return {name: found[name] for name in GATE_INPUTS if name in found}


def evaluation_inputs(run, project) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """Return the artifacts that a run's scores are made from, by name, and the flags that give them to the script."""
    section = run.evaluation
    paths: dict[str, str | None] = {
        "generations": f"generations/{run.name}" if run.generation is not None else None,
        "checkpoint": checkpoint_of(run.name, project) if runs_model(run, project) else None,
        "base_generations": base_answers(run, project),
    }
    scores = base_scores(run, project)
    own = scores.keys() if run.trainer is None else ()  # a run that trains nothing is its base
    if "perplexity" in section.metrics and "perplexity" not in own:
        paths["dataset"] = f"data/processed/{section.dataset or run.dataset}"
    if "preference" in section.metrics and "preference" not in own:
        paths["preferences"] = f"data/processed/{section.preference_dataset or run.dataset}"
    given = {name: path for name, path in paths.items() if path is not None}
    inputs = {name: (path,) for name, path in given.items()}
    if "checkpoint" in given:
        inputs["checkpoint"] = model_folders(run.name, project)
    flags: dict[str, Any] = {name.replace("_", "-"): path for name, path in given.items()}
    if scores:
        inputs["scores" if own else "base_scores"] = tuple(scores.values())
        flags["scores" if own else "base-scores"] = list(scores.values())
    if section.against:
        inputs["against"] = tuple(f"generations/{other}" for other in section.against)
        flags["against"] = [f"{other}=generations/{other}" for other in section.against]
    if section.reward_model is not None:
        inputs["reward_model"] = model_folders(section.reward_model, project)
        flags["reward-model"] = inputs["reward_model"][0]
    return inputs, flags


def runs_model(run, project) -> bool:
    """Whether a run's scores run its own model: where it trains nothing, those of the base are its own."""
    given = base_scores(run, project) if run.trainer is None else {}
    return any(metric in run.evaluation.metrics and metric not in given for metric in CHECKPOINT_METRICS)


def scoring_flags(run, project) -> dict[str, str | None]:
    """Return the flags by which a run's scores load models: its own, and the reward model that scores its answers."""
    section = run.evaluation
    how = loading_flags("evaluation", run, project) if runs_model(run, project) else {}
    if section.reward_model is not None:
        trusted = trust_of(run, project) or trust_of(project.runs[section.reward_model], project)
        how |= {TRUST: trusted, PORTABLE: portable(run)}
    return how


def report_stages(run, project) -> Iterator[Stage]:
    """One page of all results of a run that is trained or evaluated, beside the answers of its base run."""
    if run.trainer is None and run.evaluation is None:
        return
    if run.name == PAGE_OF_ALL_RUNS:
        raise HeirloomError(f"reports/{run.name}.html is the page of all runs: give the run another name")
    sections = present(run, *REPORTED)
    ancestors = {
        str(ancestor.path): present(ancestor, *REPORTED)
        for ancestor in (project.runs[name] for name in bases_of(run, project))
    }
    inputs = {"data": tuple(f"metrics/data/{name}.json" for name in datasets_of(run))}
    if run.trainer is not None:
        inputs["training"] = (f"metrics/training/{run.name}.json",)
        inputs["losses"] = (f"metrics/loss/{run.name}.csv",)
        if (completions := completions_of(run)) is not None:
            inputs["completions"] = (completions,)
    if run.evaluation is not None:
        inputs["evaluation"] = (f"metrics/evaluation/{run.name}.json",)
    if run.lm_eval is not None:
        inputs["harness"] = (f"metrics/harness/{run.name}.json",)
        inputs["samples"] = (f"{SAMPLES}/{run.name}",)
    if run.gates is not None:
        inputs |= {name: paths for name, paths in gate_inputs(run).items() if name in OTHERS}
    if run.generation is not None:
        inputs["generations"] = (f"generations/{run.name}",)
        if (answers := base_answers(run, project) or shared_prompts(run, project)) is not None:
            inputs["base_generations"] = (answers,)
    output = f"reports/{run.name}.html"
    yield Stage(
        kind="report",
        subject=run.name,
        cmd=command(
            "python",
            "scripts/create_report.py",
            run,
            sections,
            ancestors=[f"{file}={','.join(names)}" for file, names in ancestors.items()] or None,
            **{name.replace("_", "-"): list(paths) or None for name, paths in inputs.items()} | flags_of_others(inputs),
            output=output,
        ),  # fmt: skip
        inputs=inputs,
        program="scripts/create_report.py",
        files=REPORT_PARTS,
        params={str(run.path): tuple(sections)} | {file: tuple(names) for file, names in ancestors.items()},
        outs=(output,),
    )


def bases_of(run, project) -> Iterator[str]:
    """Yield the names of the runs that a run stands on, the nearest first."""
    yield from (each.name for each in chain_of(run, project) if each is not run)


def datasets_of(run) -> list[str]:
    """Return every dataset that a run reads: to train, to generate from, to measure on."""
    named = [run.dataset, *(section.dataset for section in (run.generation, run.evaluation) if section is not None)]
    named += [run.evaluation.preference_dataset] if run.evaluation is not None else []
    return list(dict.fromkeys(name for name in named if name is not None))
