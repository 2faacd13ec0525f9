"""The small form of runs: their files, the first rows of their datasets, stand-ins for their models."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heirloom.config.dataset import Dataset
from heirloom.config.model import Model
from heirloom.config.project import Project, load_project
from heirloom.config.run import Run
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json, write_json
from heirloom.rehearsal import smaller_config
from pipeline.graph import Graph, build_graph
from pipeline.paths import CACHE
from pipeline.rehearsal.record import decisive_parts, keys_of
from pipeline.rehearsal.throw_away_clone import bring_files, link_user_file
from pipeline.rehearsal.what_is_made import WhatIsMade

ROWS, MODELS = Path("rehearsal/rows"), Path("rehearsal/models")
NEVER = (
    "the real weights: what they answer, and whether they and their gradients fit into memory",
    "kernels and collectives of GPUs, and how fast anything is",
    "the download of the weights, and of all rows but the first",
)
"""What no rehearsal can show."""


@dataclass(frozen=True)
class Prepared:
    """The small form of runs in its folder."""

    folder: Path
    graph: Graph
    stages: tuple[str, ...]
    """In run order: those of the runs, and what these stand on."""
    made: WhatIsMade
    left_out: list[str] = field(default_factory=list)
    """What of the runs is not rehearsed, besides NEVER; a sentence each."""
    keys: dict[str, str] = field(default_factory=dict)
    """Run → the hash of what decides it in the project itself, from before anything was brought."""


def prepare(runs: list[str], folder: Path, tell: Callable[[str], None]) -> Prepared:
    """Write the small form of runs to `folder`, which is made; what an earlier rehearsal left there and holds stays.

    `tell` gets a line for each thing that takes time. Raises HeirloomError for a run that is unknown or has mistakes, a
    source that cannot be read, and an architecture that has no small form.
    """
    project = load_project(Path(), CACHE, strict=False)
    for name in runs:
        project.check_known(name)
    whole = build_graph(project, runs)
    keys = keys_of(runs, whole, decisive_parts(whole))
    bring_files(folder)
    used = files_of(runs, project)
    trusted = any(isinstance(file, Run) and file.trusts_remote_code for file in used)
    materials = Materials(folder, WhatIsMade(folder), trusted, tell)
    left_out: list[str] = []
    for file in used:
        content, more = materials.small_form(file)
        left_out += more
        (folder / file.path).parent.mkdir(exist_ok=True)  # of a sweep
        write_json(folder / file.path, content)
    for name in dict.fromkeys(file.deepspeed for file in used if isinstance(file, Run) and file.deepspeed):
        path = f"config/deepspeed/{name}.json"
        content = read_json(Path(path))
        left_out += [f"{path}: {sentence}" for sentence in smaller_config.smaller_deepspeed(content)]
        write_json(folder / path, content)
    try:
        graph = build_graph(load_project(folder, None))
    except HeirloomError as error:
        raise HeirloomError(f"the small form of {', '.join(runs)}, in {folder}, is no valid config: {error}") from error
    wanted = graph.ancestors(stage.name for stage in graph.stages.values() if stage.subject in runs and stage.of_run)
    for stage in graph.stages.values():
        for path in stage.files:
            link_user_file(path, folder)
    stages = tuple(name for name in graph.stages if name in wanted)
    return Prepared(folder, graph, stages, materials.made, left_out, keys)


def files_of(runs: list[str], project: Project) -> list[Dataset | Model | Run]:
    """Return the files of config/ that runs stand on, their own first."""
    found: dict[str, Dataset | Model | Run] = {}
    pending: list[Dataset | Model | Run] = [project.runs[name] for name in runs]
    while pending:
        file = pending.pop(0)
        if file.path not in found:
            found[file.path] = file
            pending += project.named_in(file)
    return list(found.values())


@dataclass(frozen=True)
class Materials:
    """Brings what small files of config/ name: rows, and stand-ins for models."""

    folder: Path
    made: WhatIsMade
    trusted: bool
    tell: Callable[[str], None]

    def small_form(self, file: Dataset | Model | Run) -> tuple[dict[str, Any], list[str]]:
        """Return the small content of a file of config/, and what it leaves out, a sentence each."""
        if isinstance(file, Run):
            return smaller_config.smaller_run(file)
        if isinstance(file, Model):
            return self.small_model(file), []
        if file.processing is not None:
            self.bring_rows(file)
        whole = file.is_processed_already
        left_out = [f"{file.name}: first rows alone, as it is processed already"] if whole else []
        return smaller_config.smaller_dataset(file, ROWS / file.name), left_out

    def bring_rows(self, dataset: Dataset) -> None:
        """Write the first rows of a dataset to the folder."""
        from heirloom.rehearsal.first_rows import write_first_rows

        name = f"download-{dataset.name}"
        count = smaller_config.ROWS + smaller_config.HELD_OUT * smaller_config.draws_test_rows(dataset)
        local = dataset.source.local
        state = [str(path) + str(path.stat().st_mtime_ns) for path in ([Path(local)] if local else [])]
        made_from = (dataset.raw["source"], state, count)
        if self.made.holds(name, *made_from):
            return
        self.tell(f"the first rows of {dataset.name}")
        place = self.anew(ROWS / dataset.name, name)
        with tempfile.TemporaryDirectory() as work, blamed(name):
            write_first_rows(dataset, count, place, Path(work) / "raw")
        self.made.note(name, *made_from)

    def small_model(self, model: Model) -> dict[str, Any]:
        """Return the small content of a model's file; bring its stand-in, or find the sizes of its fresh weights."""
        name, place = f"model-{model.name}", MODELS / model.name
        sizes = self.folder / place / "sizes.json"
        made_from = (model.raw.get("source"), model.raw.get("init"), self.trusted)
        if not self.made.holds(name, *made_from):
            from heirloom.rehearsal.two_layer_models import make_stand_in, sizes_of_fresh_weights

            self.tell(f"two layers of {model.name}")
            folder = self.anew(place, name)
            with blamed(name):
                if model.source is not None:
                    make_stand_in(model.source, folder, self.trusted)
                else:
                    folder.mkdir(parents=True)
                    write_json(sizes, sizes_of_fresh_weights(model.init))
            self.made.note(name, *made_from)
        return smaller_config.smaller_model(model, place, read_json(sizes) if model.init is not None else {})

    def anew(self, place: Path, name: str) -> Path:
        """Return a folder that is to be filled again, with nothing in it."""
        self.made.forget(name)
        shutil.rmtree(self.folder / place, ignore_errors=True)
        return self.folder / place


@contextmanager
def blamed(stage: str) -> Iterator[None]:
    """Name the stage that a user's mistake will stop."""
    try:
        yield
    except HeirloomError as error:
        raise HeirloomError(f"{stage} fails: {error}") from error
