"""dvc.yaml, written from the graph."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from heirloom.errors import HeirloomError
from pipeline.graph.graph import Graph
from pipeline.graph.stages import Stage
from pipeline.paths import CACHE, DVC_YAML
from pipeline.remembering import recall, remember

HEADER = "# Written from config/ by `make dvc.yaml` (workflow/pipeline). Do not edit: edit config/ instead.\n"
_VERSION = 2


def dvc_yaml(graph: Graph) -> str:
    """Return the text of dvc.yaml; each stage's block is remembered, as there may be thousands."""
    known = recall(CACHE / "dvcyaml.pickle", _VERSION)
    keys = {name: key_of(stage) for name, stage in sorted(graph.stages.items())}
    blocks = {key: known.get(key) or block_of(graph.stages[name]) for name, key in keys.items()}
    if blocks.keys() != known.keys():
        remember(CACHE / "dvcyaml.pickle", _VERSION, blocks)
    return HEADER + ("stages:\n" + "".join(blocks.values()) if blocks else "stages: {}\n")


def key_of(stage: Stage) -> str:
    """Return a hash over all that dvc.yaml says of a stage."""
    facts = (stage.name, stage.cmd, stage.deps, stage.params, stage.outs, stage.metrics, stage.plots)
    return hashlib.md5(repr(facts).encode()).hexdigest()


def block_of(stage: Stage) -> str:
    """Return the lines of one stage."""
    content: dict = {"cmd": stage.cmd, "deps": list(stage.deps)}
    if stage.params:
        content["params"] = [{file: sorted(sections)} for file, sections in sorted(stage.params.items())]
    if stage.outs:
        content["outs"] = sorted(stage.outs)
    if stage.metrics:
        content["metrics"] = sorted(stage.metrics)
    if stage.plots:
        content["plots"] = [{path: options} for path, options in sorted(stage.plots.items())]
    text = yaml.dump(
        {stage.name: literal(content)}, Dumper=yaml.CSafeDumper, sort_keys=False, width=10_000, allow_unicode=True
    )
    return "".join(f"  {line}\n" for line in text.splitlines())


def literal(value: Any) -> Any:
    """Return a value whose texts DVC takes as they are: without the mark it would look for a variable behind `${`."""
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [literal(inner) for inner in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


def write(graph: Graph, path: Path = DVC_YAML) -> bool:
    """Bring dvc.yaml in step with the config; tell whether it changed."""
    text = dvc_yaml(graph)
    if path.exists() and path.read_text() == text:
        return False
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
    return True


def check(graph: Graph, path: Path = DVC_YAML) -> None:
    """Raise HeirloomError when dvc.yaml is not what the config says."""
    if not path.exists() or path.read_text() != dvc_yaml(graph):
        raise HeirloomError(f"{path} is out of step with config/: run `make dvc.yaml` and commit it with your change")
