"""dvc.yaml, written from the graph.

DVC reads dvc.yaml before anything of ours runs, so an edit of config/ that only dvc.yaml would show is nothing to it.
One stage more, `check-config`, has the folder config/ as its input: it is stale after every edit there, and fails
while dvc.yaml is out of step.

A second one, `digest-code`, has its output and every module of the stages' programs as inputs. What it makes is one
small file a program, the digests of what that runs, in which comments, docstrings and formatting do not count
(pipeline.code). A stage has that file as an input, and none of the modules: so `digest-code` is what an edit of code
makes stale, it takes a second, and DVC executes the stages whose file it changed.

Every product is one that DVC leaves in place when it starts a stage (`persist`). So DVC removes nothing that the
ledger then refuses to make, a finished result that could not be saved is taken up, and DVC's run cache, which
`dvc commit` writes too, is not used: what is believed is what launch.py recorded.
"""

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from heirloom.config.sweeps.members import Member
from heirloom.errors import HeirloomError
from pipeline.graph.commands import launched
from pipeline.graph.graph import Graph
from pipeline.graph.member_files import in_step, out_of_step, write_members
from pipeline.graph.stages import CHECKED, CODE_FOLDER, Stage, code, code_file, program_of
from pipeline.paths import CACHE, DVC_YAML
from pipeline.remembering import recall, remember

HEADER = "# Written from config/ by `make dvc.yaml` (workflow/pipeline). Do not edit: edit config/ instead.\n"
ARTIFACTS, STAGES = "artifacts:\n", "stages:\n"
CHECK = "check-config"
"""The stage that knows whether dvc.yaml is in step."""
DIGEST = "digest-code"
"""The stage that writes the digests of programs."""
GUARDS = (CHECK, DIGEST)
"""Stages of dvc.yaml that are in no graph."""
CONFIG = "config"
"""All of it is what that stage looks at: which of its folders are read stands in one of its files."""
REMEDY = "`make dvc.yaml` brings it in step, and `snakemake` does by itself"
ARTIFACT = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?\Z")
"""What GTO takes for a name, without the folders (gto 1.10, constants.py)."""
_VERSION = 4


def dvc_yaml(graph: Graph, found: str = "") -> str:
    """Return the text of dvc.yaml; each stage's block is remembered, as there may be thousands.

    While a file of config/ is broken nobody knows which stages it means: those that `found`, the text until now, has
    beside the graph's stay as they are.
    """
    known = recall(CACHE / "dvcyaml.json", _VERSION)
    keys = {name: key_of(stage) for name, stage in sorted(graph.stages.items())}
    blocks = {key: known.get(key) or block_of(graph.stages[name]) for name, key in keys.items()}
    if blocks.keys() != known.keys():
        remember(CACHE / "dvcyaml.json", _VERSION, blocks)
    kept = blocks_of(found) if graph.mistakes else {}
    texts = {**kept, **{name: blocks[key] for name, key in keys.items()}, CHECK: check_block()}
    programs = {program_of(path) for text in kept.values() for path in re.findall(rf"- ({CODE_FOLDER}\S+)", text)}
    texts[DIGEST] = digest_block({*graph.programs, *(path for path in programs if Path(path).is_file())})
    shipped = {**(artifacts_of(found) if graph.mistakes else {}), **artifact_blocks(graph)}
    registry = ARTIFACTS + "".join(shipped[name] for name in sorted(shipped)) if shipped else ""
    return HEADER + registry + STAGES + "".join(texts[name] for name in sorted(texts))


def artifact_blocks(graph: Graph) -> dict[str, str]:
    """Return run → the lines of its artifact, for runs with gates: what a tag `RUN@v1.0.0` stands for to DVC and GTO.

    They are in no entry of dvc.lock, so nothing becomes stale by them (https://doc.dvc.org/user-guide/project-structure/dvcyaml-files#artifacts).
    """
    runs = [stage.subject for stage in graph.stages.values() if stage.kind == "gate"]
    return {run: lines_of(run, {"path": f"checkpoints/{run}", "type": "model"}) for run in runs if ARTIFACT.match(run)}


def check_entry() -> dict:
    """Return the entry of `check-config`, without hashes."""
    return {
        "cmd": "python workflow/pipeline check",
        "deps": [{"path": CONFIG}],
        "outs": [{"path": CHECKED}],
    }


def check_block() -> str:
    """Return the lines of `check-config`; its output never changes, and git tracks it."""
    entry = check_entry()
    deps, outs = ([item["path"] for item in entry[key]] for key in ("deps", "outs"))
    content = {"cmd": entry["cmd"], "deps": deps, "outs": [{path: {"cache": False, "persist": True}} for path in outs]}
    return lines_of(CHECK, content)


def digest_entry(programs: Iterable[str]) -> dict:
    """Return the entry of `digest-code`, without hashes."""
    modules = {path for program in programs for path in code(program)}
    return {
        "cmd": "python workflow/pipeline digest",
        "deps": [{"path": path} for path in sorted({CHECKED, *modules})],
        "outs": [{"path": code_file(program)} for program in sorted(programs)],
    }


def digest_block(programs: Iterable[str]) -> str:
    """Return the lines of `digest-code`; its outputs are in DVC's cache, so that `dvc pull` brings them."""
    entry = digest_entry(programs)
    deps, outs = ([item["path"] for item in entry[key]] for key in ("deps", "outs"))
    return lines_of(DIGEST, {"cmd": entry["cmd"], "deps": deps, "outs": [{path: {"persist": True}} for path in outs]})


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
        content["outs"] = [{path: {"persist": True}} for path in sorted(stage.outs)]
    if stage.metrics:
        content["metrics"] = [{path: {"persist": True}} for path in sorted(stage.metrics)]
    if stage.plots:
        content["plots"] = [{path: {**options, "persist": True}} for path, options in sorted(stage.plots.items())]
    return lines_of(stage.name, literal(content))


def lines_of(name: str, content: dict) -> str:
    """Return one stage's block of text."""
    text = yaml.dump({name: content}, Dumper=yaml.CSafeDumper, sort_keys=False, width=10_000, allow_unicode=True)
    return "".join(f"  {line}\n" for line in text.splitlines())


def literal(value: Any) -> Any:
    """Return a value whose texts DVC takes as they are: without the mark it would look for a variable behind `${`."""
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [literal(inner) for inner in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


def write(graph: Graph, path: Path = DVC_YAML) -> bool:
    """Bring dvc.yaml and the files of sweeps' runs in step with the config; tell whether any of them changed.

    Raises HeirloomError for a folder, and where a run's file cannot be written.
    """
    if path.is_dir():
        raise HeirloomError(f"{path} is a folder, and should be the file that `make dvc.yaml` writes: move it away")
    members = write_members(graph) > 0
    found = path.read_text(errors="replace", encoding="utf-8") if path.exists() else ""
    text = dvc_yaml(graph, found)
    if found == text:
        return members
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return True


def check(graph: Graph, path: Path = DVC_YAML) -> None:
    """Raise HeirloomError, naming the stages or runs, when dvc.yaml or a file of a sweep's run is not what they say."""
    wanted = dvc_yaml(graph)
    found = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
    if found != wanted:
        then, now = blocks_of(found), blocks_of(wanted)
        parts = {
            "new": [name for name in now if name not in then],
            "changed": [name for name in now if name in then and now[name] != then[name]],
            "gone": [name for name in then if name not in now],
        }
        told = "; ".join(f"{word}: {some(names)}" for word, names in parts.items() if names)
        told = told or ("artifacts" if artifacts_of(found) != artifacts_of(wanted) else "")
        raise HeirloomError(
            f"{path} is out of step with config/{f' ({told})' if told else ''}: {REMEDY}; commit it with your change"
        )
    if members := [f"{word}: {file}" for word, file in out_of_step(graph)]:
        raise HeirloomError(
            f"the file of a run is out of step with its sweep ({some(members)}): {REMEDY}; what a run of a sweep "
            "says is edited in the sweep's file"
        )


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def blocks_of(text: str) -> dict[str, str]:
    """Return stage → its lines, of a text in the form that is written here."""
    return _blocks(around_stages(text)[1])


def artifacts_of(text: str) -> dict[str, str]:
    """Return artifact → its lines, of a text in the form that is written here."""
    return _blocks(around_stages(text)[0].partition(ARTIFACTS)[2])


def around_stages(text: str) -> tuple[str, str]:
    """Return what stands before and after the line STAGES, which is none of a run called `x-stages`.

    All is before it where there is no such line.
    """
    found = re.search(f"^{STAGES}", text, re.MULTILINE)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def _blocks(text: str) -> dict[str, str]:
    return {match[1]: match[0] for match in re.finditer(r"^  (\S+):\n(?:    .*\n)*", text, re.MULTILINE)}


def check_stage(
    stage: Stage, words: Sequence[str], members: Mapping[str, Member] = MappingProxyType({}), path: Path = DVC_YAML
) -> None:
    """Raise HeirloomError unless dvc.yaml describes a stage as the graph does, and `words` are what it starts.

    `words` follow `python scripts/launch.py`. DVC records what dvc.yaml says, the identity is of what the graph says:
    a result may only go from one to the other while they are the same. So is it with the files of `members`.
    """
    text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
    if f"\n{block_of(stage)}" not in text:
        raise HeirloomError(f"{path} is out of step with config/ and the code in {stage.name}: {REMEDY}")
    for file in sorted(members.keys() & stage.params):
        if not in_step(file, members[file]):
            raise HeirloomError(f"{file} is out of step with its sweep: {REMEDY}")
    if list(words) != launched(stage.cmd):
        raise HeirloomError(
            f"{stage.name} was started as `{shlex.join(words)}`, which is not the command that {path} has for it: type "
            "`dvc repro` or `snakemake`; to try a script by hand, unset DVC_STAGE"
        )
