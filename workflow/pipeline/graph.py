"""The graph, described once: config/ → stages. dvc.yaml is written from it and the rules look things up in it.

    download-DATASET ─┬─► process-DATASET ───────────┐
                      └─► tokenizer-MODEL ─► model-MODEL ─► train-RUN ─► generate-RUN ─► evaluate-RUN ─► report-RUN

A stage's identity is its command, its code, its own sections of the config and the content of its inputs.
Tracking and resources are not part of it.
"""

import functools
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from heirloom.code_closure import PROJECT, SCRIPTS, code_closure, module_files
from heirloom.errors import HeirloomError
from heirloom.report.run_config import REPORTED

TRAINERS = {
    "trainer": "scripts/train.py",
    "seq2seq": "scripts/seq2seq_train.py",
    "sft": "scripts/sft_train.py",
    "dpo": "scripts/dpo_train.py",
    "orpo": "scripts/orpo_train.py",
}
NEEDS_CHECKPOINT = {"perplexity"}
REPORT_PARTS = tuple(f"scripts/heirloom/report/page/page.{kind}" for kind in ("css", "html.jinja", "js"))
PAGE_OF_ALL_RUNS = "index"
"""reports/index.html is made by `make report`, so no run can have that name."""


@dataclass(frozen=True)
class Stage:
    """One unit of work: what DVC executes and records, and what one Snakemake job asks for."""

    kind: str
    subject: str
    cmd: str
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Artifacts of other stages that it reads, by the name that the rule gives them."""
    files: tuple[str, ...] = ()
    """Everything else it reads: code, DeepSpeed files, chat templates, the user's own data."""
    params: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Config file → the top-level sections that are present and belong to the stage's identity."""
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: dict[str, dict[str, str]] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    """What the run asks of a machine; never identity."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.subject}"

    @functools.cached_property
    def deps(self) -> tuple[str, ...]:
        """All paths it reads, sorted as DVC sorts them."""
        return tuple(sorted({*self.files, *(path for paths in self.inputs.values() for path in paths)}))

    @functools.cached_property
    def products(self) -> tuple[str, ...]:
        """All paths it makes, sorted as DVC sorts them."""
        return tuple(sorted((*self.outs, *self.metrics, *self.plots)))

    @property
    def artifact(self) -> str:
        """The path that stands for the stage in a rule: its first product."""
        return (self.outs or self.metrics)[0]


@dataclass(frozen=True)
class Graph:
    """All stages of the enabled runs, each after those it reads from."""

    stages: dict[str, Stage]

    @functools.cached_property
    def makers(self) -> dict[str, str]:
        """Path of an artifact → name of the stage that makes it."""
        return {path: name for name, stage in self.stages.items() for path in stage.products}

    @functools.cached_property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """Stage → the stages that it reads from."""
        return {
            name: tuple(dict.fromkeys(self.makers[path] for path in stage.deps if path in self.makers))
            for name, stage in self.stages.items()
        }

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """Return `names` and every stage that they need."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += self.upstream[name]
        return found

    def descendants(self, names: Iterable[str]) -> set[str]:
        """Return `names` and every stage that needs one of them."""
        found = set(names)
        for name in self.stages:
            if any(above in found for above in self.upstream[name]):
                found.add(name)
        return found


def build_graph(project) -> Graph:
    """Return the stages of every enabled run and of all that they stand on, in run order.

    `project` is a `heirloom.config.project.Project`. Raises HeirloomError when a run wants a trainer whose
    script this repository does not have.
    """
    stages: dict[str, Stage] = {}

    def add(new: Iterator[Stage]) -> None:
        stages.update((stage.name, stage) for stage in new)

    def add_dataset(name: str) -> None:
        dataset = project.datasets[name]
        for part in dataset.mixture.datasets if dataset.mixture else ():
            add_dataset(part)
        if not dataset.mixture:
            add(download_stages(dataset))
            add_model(dataset.tokenizer, weights=False)
        add(process_stages(dataset))

    def add_model(name: str, weights: bool = True) -> None:
        model = project.models[name]
        if model.tokenizer is not None and model.tokenizer.train_on is not None:
            add(download_stages(project.datasets[model.tokenizer.train_on]))
        add(tokenizer_stages(model, project))
        if weights:
            add(model_stages(model))

    def add_run(name: str) -> None:
        run = project.runs[name]
        if run.base in project.runs:
            add_run(run.base)
        else:
            add_model(run.base)
        for dataset in datasets_of(run):
            add_dataset(dataset)
        add(run_stages(run, project))
        add(report_stages(run, project))

    for name, run in project.runs.items():
        if run.enabled:
            add_run(name)
    return Graph(in_run_order(stages))


def in_run_order(stages: dict[str, Stage]) -> dict[str, Stage]:
    """Return the stages sorted by name, each after those it reads from: the same order whatever was added when."""
    makers = {path: name for name, stage in stages.items() for path in stage.products}
    ordered: dict[str, Stage] = {}

    def place(name: str) -> None:
        if name not in ordered:
            for path in stages[name].deps:
                if path in makers:
                    place(makers[path])
            ordered[name] = stages[name]

    for name in sorted(stages):
        place(name)
    return ordered


# ---- one function a kind of stage ----


def download_stages(dataset) -> Iterator[Stage]:
    """The raw dataset, unless it is a local path (a plain input of `process`) or a mixture."""
    if dataset.source is None or dataset.source.path is not None:
        return
    script = "scripts/generate_dataset.py" if dataset.source.generator else "scripts/download_dataset.py"
    output = f"data/raw/{dataset.name}"
    yield Stage(
        kind="download",
        subject=dataset.name,
        cmd=command("python", script, dataset, ["source"], output=output),
        files=code(script),
        params={str(dataset.path): ("source",)},
        outs=(output,),
    )


def tokenizer_stages(model, project) -> Iterator[Stage]:
    """The model's tokenizer: trained on a raw dataset, or fetched without the weights."""
    sections = present(model, "source", "tokenizer")
    inputs, files, flags = {}, [], {}
    if model.tokenizer is not None and model.tokenizer.train_on is not None:
        inputs, files, flags["raw"] = raw_input(project.datasets[model.tokenizer.train_on])
    if model.tokenizer is not None and model.tokenizer.chat_template:
        files.append(str(model.tokenizer.chat_template))
    yield Stage(
        kind="tokenizer",
        subject=model.name,
        cmd=command(
            "python", "scripts/create_tokenizer.py", model, sections, **flags, output=f"tokenizers/{model.name}"
        ),
        inputs=inputs,
        files=(*code("scripts/create_tokenizer.py"), *files),
        params={str(model.path): tuple(sections)},
        outs=(f"tokenizers/{model.name}",),
    )


def model_stages(model) -> Iterator[Stage]:
    """The base model: initialised from the config, or fetched."""
    section = "source" if model.init is None else "init"
    tokenizer = f"tokenizers/{model.name}"
    yield Stage(
        kind="model",
        subject=model.name,
        cmd=command(
            "python", "scripts/create_model.py", model, [section], tokenizer=tokenizer, output=f"models/{model.name}"
        ),
        inputs={"tokenizer": (tokenizer,)},
        files=code("scripts/create_model.py"),
        params={str(model.path): (section,)},
        outs=(f"models/{model.name}",),
    )


def process_stages(dataset) -> Iterator[Stage]:
    """The processed dataset: rows tokenized, masked, split; or several processed datasets mixed."""
    output = f"data/processed/{dataset.name}"
    statistics = f"metrics/data/{dataset.name}.json"
    files: list[str] = []
    if dataset.mixture is not None:
        sections = ["mixture"]
        parts = {name: f"data/processed/{name}" for name in dataset.mixture.datasets}
        inputs = {"datasets": tuple(parts.values())}
        flags: dict[str, Any] = {"datasets": [f"{name}={path}" for name, path in parts.items()]}
    else:
        sections = ["processing"]
        inputs, files, raw = raw_input(dataset)
        tokenizer = f"tokenizers/{dataset.tokenizer}"
        inputs["tokenizer"] = (tokenizer,)
        flags = {"raw": raw, "tokenizer": tokenizer}
        if dataset.processing.chat_template:
            files.append(str(dataset.processing.chat_template))
        files += user_code(dataset.processing.processing_function)
    yield Stage(
        kind="process",
        subject=dataset.name,
        cmd=command(
            "python", "scripts/create_dataset.py", dataset, sections, **flags, output=output, statistics=statistics
        ),
        inputs=inputs,
        files=(*code("scripts/create_dataset.py"), *files),
        params={str(dataset.path): tuple(sections)} if sections else {},
        outs=(output,),
        metrics=(statistics,),
    )


def run_stages(run, project) -> Iterator[Stage]:
    """Train a run's base on its dataset, generate from the result, evaluate it."""
    path = str(run.path)
    dataset = f"data/processed/{run.dataset}"
    checkpoint = checkpoint_of(run.name, project)
    if run.trainer is not None:
        script = TRAINERS[run.trainer]
        if not (PROJECT / script).exists():
            raise HeirloomError(
                f"{path}: trainer {run.trainer} needs {script}, which this version of Heirloom does not have yet: "
                "set `enabled: false` or choose another trainer"
            )
        answering = ("generation",) if run.predicts_with_generate else ()
        sections = present(run, "training", "peft", "quantization", *answering)
        deepspeed = f"config/deepspeed/{run.deepspeed}.json" if run.deepspeed else None
        metrics, loss = f"metrics/training/{run.name}.json", f"metrics/loss/{run.name}.csv"
        base = checkpoint_of(run.base, project)
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
                output=checkpoint,
                metrics=metrics,
                loss=loss,
            ),  # fmt: skip
            inputs={"dataset": (dataset,), "base": (base,)},
            files=(*code(script), *([deepspeed] if deepspeed else [])),
            params={path: tuple(sections)} if sections else {},
            outs=(checkpoint,),
            metrics=(metrics,),
            plots={loss: {"x": "step", "y": "loss", "title": f"training loss of {run.name}"}},
            resources=run.resources.machines("training").model_dump(exclude_none=True),
        )
    if run.generation is not None:
        file = run.generation.prompts_file
        prompts = {"prompts": file} if file else {"dataset": f"data/processed/{run.generation.dataset or run.dataset}"}
        generations = f"generations/{run.name}"
        yield Stage(
            kind="generate",
            subject=run.name,
            cmd=command(
                "torchrun",
                "scripts/inference.py",
                run,
                ["generation"],
                checkpoint=checkpoint,
                **prompts,
                output=generations,
            ),  # fmt: skip
            inputs={"checkpoint": (checkpoint,), **({} if file else {"dataset": (prompts["dataset"],)})},
            files=(*code("scripts/inference.py"), *([file] if file else [])),
            params={path: ("generation",)},
            outs=(generations,),
            resources=run.resources.machines("generation").model_dump(exclude_none=True),
        )
    if run.evaluation is not None:
        inputs, flags = {}, {}
        if run.generation is not None:
            inputs["generations"] = (f"generations/{run.name}",)
            flags["generations"] = f"generations/{run.name}"
        if NEEDS_CHECKPOINT & set(run.evaluation.metrics):
            held_out = f"data/processed/{run.evaluation.dataset or run.dataset}"
            inputs |= {"checkpoint": (checkpoint,), "dataset": (held_out,)}
            flags |= {"checkpoint": checkpoint, "dataset": held_out}
        metrics = f"metrics/evaluation/{run.name}.json"
        yield Stage(
            kind="evaluate",
            subject=run.name,
            cmd=command("torchrun", "scripts/evaluate_model.py", run, ["evaluation"], **flags, metrics=metrics),
            inputs=inputs,
            files=code("scripts/evaluate_model.py"),
            params={path: ("evaluation",)},
            metrics=(metrics,),
            resources=run.resources.machines("evaluation").model_dump(exclude_none=True),
        )


def report_stages(run, project) -> Iterator[Stage]:
    """One page of all results of a run that is trained or evaluated, beside the answers of its base run."""
    if run.trainer is None and run.evaluation is None:
        return
    if run.name == PAGE_OF_ALL_RUNS:
        raise HeirloomError(f"{run.path}: reports/{run.name}.html is the page of all runs: call this run otherwise")
    sections = present(run, *REPORTED)
    ancestors = {
        str(ancestor.path): present(ancestor, *REPORTED)
        for ancestor in (project.runs[name] for name in bases_of(run, project))
    }
    inputs = {"data": tuple(f"metrics/data/{name}.json" for name in datasets_of(run))}
    if run.trainer is not None:
        inputs["training"] = (f"metrics/training/{run.name}.json",)
        inputs["losses"] = (f"metrics/loss/{run.name}.csv",)
    if run.evaluation is not None:
        inputs["evaluation"] = (f"metrics/evaluation/{run.name}.json",)
    if run.generation is not None:
        inputs["generations"] = (f"generations/{run.name}",)
        base = project.runs.get(run.base)
        if base is not None and base.generation is not None and prompts_of(base) == prompts_of(run):
            inputs["base_generations"] = (f"generations/{base.name}",)
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
            **{name.replace("_", "-"): list(paths) or None for name, paths in inputs.items()},
            output=output,
        ),  # fmt: skip
        inputs=inputs,
        files=(*code("scripts/create_report.py"), *REPORT_PARTS),
        params={str(run.path): tuple(sections)} | {file: tuple(names) for file, names in ancestors.items()},
        outs=(output,),
    )


# ---- what the stages are made of ----


def command(starter: str, script: str, subject, sections: list[str], **flags) -> str:
    """Return the command line; a flag that is None is left out, a list gives several values."""
    words = ["python", "scripts/launch.py", starter, script, "--config", str(subject.path)]
    if sections:
        words += ["--sections", ",".join(sections)]
    for flag, value in flags.items():
        if value is not None:
            words += [f"--{flag}", *(value if isinstance(value, list) else [value])]
    return shlex.join(words).replace("${", "\\${")


@functools.cache
def code(script: str) -> tuple[str, ...]:
    """Return the script and the project modules that it imports, as paths relative to the project."""
    return tuple(str(path.relative_to(PROJECT)) for path in code_closure(PROJECT / script))


def user_code(processing_function: str) -> list[str]:
    """Return the files behind a user's `module:function`; none for a built-in name."""
    module, _, function = processing_function.partition(":")
    if not function:
        return []
    files = list(module_files(module, (PROJECT, SCRIPTS)))
    return sorted({str(path.relative_to(PROJECT)) for file in files for path in code_closure(file)})


def raw_input(dataset) -> tuple[dict[str, tuple[str, ...]], list[str], str]:
    """Return what reading a raw dataset means: (inputs made by stages, plain files, the path itself)."""
    if dataset.source.path is not None:
        return {}, [str(dataset.source.path)], str(dataset.source.path)
    return {"raw": (f"data/raw/{dataset.name}",)}, [], f"data/raw/{dataset.name}"


def checkpoint_of(name: str, project) -> str:
    """Return the folder that holds a model's or a run's weights; a run without trainer stands for its base."""
    if name not in project.runs:
        return f"models/{name}"
    run = project.runs[name]
    return f"checkpoints/{name}" if run.trainer is not None else checkpoint_of(run.base, project)


def bases_of(run, project) -> Iterator[str]:
    """Yield the runs that a run stands on, the nearest first."""
    while run.base in project.runs:
        run = project.runs[run.base]
        yield run.name


def prompts_of(run) -> str | None:
    """Return the dataset whose prompts a run answers."""
    return run.generation.dataset or run.dataset


def datasets_of(run) -> list[str]:
    """Return every dataset that a run reads: to train, to generate from, to measure on."""
    named = [run.dataset, *(section.dataset for section in (run.generation, run.evaluation) if section is not None)]
    return list(dict.fromkeys(name for name in named if name is not None))


def present(subject, *sections: str) -> list[str]:
    """Return those of the sections that a config file has."""
    return [name for name in sections if name in subject.model_fields_set and getattr(subject, name) is not None]
