"""The graph, described once: config/ → stages. dvc.yaml is written from it and the rules look things up in it.

    download-DATASET ─┬─► process-DATASET ───────────┐
                      └─► tokenizer-MODEL ─► model-MODEL ─► train-RUN ─► generate-RUN ─► evaluate-RUN ─► report-RUN
                                                 │               └─► harness-RUN            │
                                                 ├─► baseline-BASE-on-PROMPTS-… ────────────┤
                                                 ├─► scores-BASE-on-ROWS-… ─────────────────┘
                                                 └─► reference-BASE-on-DATASET-… ─► train-RUN (dpo, kto)
    process-DATASET ─► pack-DATASET-HOW ─► train-RUN (packing, seq_length)
    process-DATASET, tokenizer-MODEL ─► rewards-RUN ─► train-RUN (grpo, rloo)

`harness-RUN` reads raw datasets too, where `lm_eval.datasets` names them.

A stage's identity is its command, its code, its own sections of the config and the content of its inputs.
Tracking and resources are not part of it.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.project import ConfigErrors, Mistake, Project, load_project
from heirloom.config.run import Run
from heirloom.config.sweeps.members import Member
from heirloom.errors import HeirloomError
from pipeline.graph.answers import baseline_stages
from pipeline.graph.base_scores import base_score_stages
from pipeline.graph.data_and_model_stages import download_stages, model_stages, process_stages, tokenizer_stages
from pipeline.graph.model_loading import trust_by_model
from pipeline.graph.packed_rows import pack_stages
from pipeline.graph.reference_scores import reference_stages
from pipeline.graph.run_stages import datasets_of, report_stages, run_stages
from pipeline.graph.stages import Stage
from pipeline.paths import CACHE


@dataclass(frozen=True)
class Graph:
    """All stages of the enabled runs, each after those it reads from."""

    stages: dict[str, Stage]
    mistakes: tuple[Mistake, ...] = ()
    """What is wrong in files whose stages are not here (`load_graph` that is not strict)."""
    members: dict[str, Member] = field(default_factory=dict)
    """The runs that sweeps stand for, by the paths of their files, which `dvcfile.write` writes."""

    @functools.cached_property
    def makers(self) -> dict[str, str]:
        """Path of an artifact → name of the stage that makes it."""
        return {path: name for name, stage in self.stages.items() for path in stage.products}

    @functools.cached_property
    def programs(self) -> tuple[str, ...]:
        """The scripts of all stages, sorted."""
        return tuple(sorted({stage.program for stage in self.stages.values() if stage.program}))

    def stage(self, name: str) -> Stage:
        """Return a stage by its name. Raises HeirloomError when there is none, or when a mistake hides it."""
        if name not in self.stages and self.mistakes:
            raise ConfigErrors(self.mistakes)
        if name not in self.stages:
            raise HeirloomError(f"no stage is called {name}; {did_you_mean(name, self.stages, 'there are')}")
        return self.stages[name]

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


def load_graph(strict: bool = True) -> tuple[object, Graph]:
    """Read and check the whole config; return it with the graph it describes. Raises HeirloomError.

    Who wants single stages is not `strict`: files with mistakes, runs that stand on them, and runs of which no stages
    can be made are left out then.
    """
    project = load_project(Path(), CACHE, strict)
    try:
        graph = build_graph(project)
    except HeirloomError:
        project = load_project(Path(), CACHE, strict, impossible_runs(project))
        graph = build_graph(project)
    return project, graph


def impossible_runs(project: Project) -> list[Mistake]:
    """Return why there can be no graph of some of the enabled runs, each looked at by itself."""
    mistakes: list[Mistake] = []
    for run in (run for run in project.runs.values() if run.enabled):
        try:
            build_graph(project, [run.name])
        except HeirloomError as error:
            mistakes.append(Mistake(str(run.path), None, "", str(error)))
    return mistakes


def build_graph(project: Project, runs: Iterable[str] | None = None) -> Graph:
    """Return the stages of some runs (None: every enabled one) and of all that they stand on, in run order.

    Raises HeirloomError when a run wants a trainer whose script is not here, has the name of the page of all runs, or
    reads what it makes itself.
    """
    stages: dict[str, Stage] = {}
    added: dict[str, Run] = {}
    trusted = trust_by_model(project)

    def add(new: Iterator[Stage]) -> None:
        stages.update((stage.name, stage) for stage in new)

    def add_dataset(name: str) -> None:
        dataset = project.datasets[name]
        for part in dataset.mixture.datasets if dataset.mixture else ():
            add_dataset(part)
        if not dataset.mixture:
            add(download_stages(dataset))
            add_model(dataset.tokenizer, weights=False)
        add(process_stages(dataset, trusted))

    def add_model(name: str, weights: bool = True) -> None:
        model = project.models[name]
        if model.tokenizer is not None and model.tokenizer.train_on is not None:
            add(download_stages(project.datasets[model.tokenizer.train_on]))
        add(tokenizer_stages(model, project, trusted))
        if weights:
            add(model_stages(model, trusted))

    def add_run(name: str) -> None:
        if name in added:
            return
        run = added[name] = project.runs[name]
        if run.base not in project.runs:
            add_model(run.base)
        for other in project.named_in(run):
            if isinstance(other, Run):
                add_run(other.name)
        for dataset in datasets_of(run):
            add_dataset(dataset)
        for dataset in run.lm_eval.datasets or () if run.lm_eval is not None else ():
            add(download_stages(project.datasets[dataset]))
        add(run_stages(run, project))
        add(report_stages(run, project))

    for name in (name for name, run in project.runs.items() if run.enabled) if runs is None else runs:
        add_run(name)
    add(pack_stages(added.values(), project))
    add(reference_stages(added.values(), project))
    add(baseline_stages(added.values(), project))
    add(base_score_stages(added.values(), project))
    return Graph(in_run_order(stages), tuple(project.mistakes), project.members)


def in_run_order(stages: dict[str, Stage]) -> dict[str, Stage]:
    """Return the stages sorted by name, each after those it reads from: the same order whatever was added when."""
    makers = {path: name for name, stage in stages.items() for path in stage.products}
    ordered: dict[str, Stage] = {}

    tops = {path.split("/")[0] for path in makers}

    def place(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            around = " → ".join([*above[above.index(name) :], name])
            raise HeirloomError(
                f"{around}: what a stage makes is its own input: look at `base:`, `reward_model:` and `source.path:`"
            )
        if name not in ordered:
            for path in stages[name].deps:
                if maker := maker_of(path):
                    place(maker, (*above, name))
            ordered[name] = stages[name]

    @functools.cache
    def maker_of(path: str) -> str | None:
        """Return the stage that makes a path, or the folder that it lies in."""
        if path in makers or path.split("/")[0] not in tops:
            return makers.get(path)
        return next((makers[str(top)] for top in Path(path).parents if str(top) in makers), None)

    for name in sorted(stages):
        place(name, ())
    return ordered
