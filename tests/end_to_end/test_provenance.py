"""From a generated line back to its raw row, in a small project in which every stage has really run."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import released_bytes
from demo_clone import REPOSITORY, Demo

from pipeline.graph.stages import KINDS
from pipeline.ledger.fingerprints import bytes_hash
from pipeline.upkeep.changelog import SAME, bytes_told

TRAINING = "training: {max_steps: 1, global_batch_size: 4, per_device_train_batch_size: 2, learning_rate: 1.0e-3}"
PROCESSING = "processing_function: dummy_processing_function, max_length: 96, train_on: assistant"
CONFIG = {
    "models/tiny.yaml": """\
tokenizer:
  train_on: words
  vocab_size: 300
  eos_token: <|end|>
  pad_token: <|pad|>
  additional_special_tokens: [<|user|>, <|assistant|>]
  chat_template: config/chat_templates/demo.jinja
init: {model_type: llama, seed: 0, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
       num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 256}
""",
    "datasets/words.yaml": """\
tokenizer: tiny
source: {generator: demo, part: text, rows: 40, seed: 1}
processing: {processing_function: plain_text_processing_function, max_length: 96}
""",
    "datasets/made.yaml": f"""\
tokenizer: tiny
source: {{generator: demo, part: chats, rows: 60, test_rows: 3, seed: 2}}
processing: {{{PROCESSING}, test_split: test}}
""",
    "datasets/own.yaml": f"""\
tokenizer: tiny
source: {{path: config/own.jsonl}}
processing: {{{PROCESSING}, test_rows: 2}}
""",
    "datasets/mixed.yaml": "tokenizer: tiny\nmixture: {datasets: {made: 1, own: 1}}\n",
    "runs/first.yaml": f"base: tiny\ndataset: made\ntrainer: sft\n{TRAINING}\n",
    "runs/second.yaml": f"""\
base: first
dataset: mixed
trainer: sft
{TRAINING}
generation: {{max_new_tokens: 2, do_sample: true, num_return_sequences: 2, seed: 0}}
evaluation: {{base: true, metrics: [perplexity, token_counts]}}
""",
    "runs/asked.yaml": """\
base: second
generation: {max_new_tokens: 2, prompts_file: config/prompts.jsonl, output_format: parquet}
""",
    "own.jsonl": "".join(
        f'{{"messages": [{{"role": "user", "content": "Where is {name}?"}}, '
        f'{{"role": "assistant", "content": "At the {place}."}}]}}\n'
        for name, place in (("Ada", "inn"), ("Bo", "mill"), ("Cleo", "well"), ("Dan", "bridge"))
    ),
    "prompts.jsonl": '{"prompt": "Once"}\n\n{"prompt": "Twice", "id": "12"}\n',
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A project with two trainings on a mixture of made and own data, committed after everything has run."""
    demo = Demo.create(tmp_path_factory.mktemp("project") / "heirloom", tmp_path_factory.mktemp("home"))
    for kind in ("models", "datasets", "runs", "demo", "examples"):
        shutil.rmtree(demo.folder / "config" / kind)
    for name, text in CONFIG.items():
        file = demo.folder / "config" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    demo.make("clone-settings")
    demo.run(sys.executable, "workflow/pipeline", "write")
    demo.warmed(**released_bytes.PINNED)
    demo.run("snakemake", "--quiet", "rules")
    demo.commit("made")
    return demo


@pytest.fixture
def project(made: Demo, tmp_path: Path) -> Demo:
    """A copy of it to work in."""
    copy = Demo(tmp_path / "heirloom", tmp_path)
    copy.environment = made.environment
    subprocess.run(["cp", "-a", str(made.folder), str(copy.folder)], check=True)
    return copy


def traced(demo: Demo, run: str, row: str, *words: str) -> dict[str, Any]:
    """Return what `trace_generation.py --json` prints."""
    command = [sys.executable, "scripts/trace_generation.py", f"generations/{run}", row, "--json", *words]
    return json.loads(demo.run(*command))


def mistake(demo: Demo, run: str, row: str, *words: str) -> str:
    """Return the sentence with which the program refuses."""
    done = subprocess.run(
        [sys.executable, "scripts/trace_generation.py", f"generations/{run}", row, *words],
        cwd=demo.folder, env=demo.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def row_ids(demo: Demo) -> list[str]:
    """Return the row_id of each line of generations/second."""
    lines = (demo.folder / "generations/second/generations.jsonl").read_text().splitlines()
    return [json.loads(line)["row_id"] for line in lines]


def lines_of(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_leads_to_its_raw_row_through_everything_between(made: Demo) -> None:
    before = made.git("rev-parse", "HEAD~1").strip()
    wanted = next(name for name in row_ids(made) if name.startswith("made/"))
    trace = traced(made, "second", wanted, "--sample", "1")
    lines = lines_of(made.folder / "generations/second/generations.jsonl")
    assert trace["row"] == lines[trace["line"] - 1]
    assert (trace["row"]["row_id"], trace["row"]["sample"]) == (wanted, 1)
    assert trace["lineage"] == ["checkpoints/second", "checkpoints/first", "models/tiny"]
    assert trace["weights_match"] is True and trace["missing"] == []

    assert trace["processed"]["file"] == "data/processed/mixed/test"
    assert trace["processed"]["content"]["prompt"] == trace["row"]["prompt"]
    raw = trace["raw"]
    file, number = wanted.removeprefix("made/").split(":")
    assert (raw["file"], raw["number"]) == (f"data/raw/made/{file}", int(number))
    assert raw["content"] == lines_of(made.folder / raw["file"])[raw["number"] - 1]
    assert raw["content"]["messages"][0]["content"] in trace["row"]["prompt"]
    assert raw["sha256"] == hashlib.sha256((made.folder / raw["file"]).read_bytes()).hexdigest()
    assert raw["source"] == {"generator": "demo", "part": "chats", "rows": 60, "test_rows": 3, "seed": 2}

    artifacts = {artifact["path"]: artifact for artifact in trace["artifacts"]}
    by_stages = {path for path, artifact in artifacts.items() if artifact["stage"]}
    assert by_stages == {
        "generations/second", "checkpoints/second", "checkpoints/first", "models/tiny", "tokenizers/tiny",
        "data/processed/mixed", "data/processed/made", "data/processed/own", "data/raw/made", "data/raw/words",
    }  # fmt: skip
    assert {"config/own.jsonl", "config/chat_templates/demo.jinja"} <= artifacts.keys()
    for path, artifact in artifacts.items():
        assert bytes_hash(str(made.folder / path)) == artifact["md5"]
        assert artifact["place"] == "here"
    for path in by_stages:
        assert artifacts[path]["made_with"]["commit"] == before
        assert {"python", "torch", "transformers"} <= artifacts[path]["made_with"]["versions"].keys()
        assert len(artifacts[path]["commits"]) == 1 and artifacts[path]["commits"][0].endswith("made")
    assert artifacts["checkpoints/first"]["config"]["config/runs/first.yaml"]["training"]["learning_rate"] == 1e-3


def test_make_trace_shows_it_as_a_tree(made: Demo) -> None:
    shown = made.make("trace", "RUN=second", "ROW=1")
    row = lines_of(made.folder / "generations/second/generations.jsonl")[0]
    for text in (
        f"generations/second line 1, row_id {row['row_id']}",
        "raw row data/raw/made/",
        "lineage checkpoints/second ← checkpoints/first ← models/tiny",
        f"weights sha256 {row['checkpoint']}: the folder holds them",
        "base train-first → checkpoints/first",
        "config config/runs/second.yaml, as recorded",
        "1 cpu rank",
        "machine and versions as for generate-second",
    ):
        assert text in shown


def test_a_line_of_parquet_leads_to_its_prompt(made: Demo) -> None:
    commit = made.git("rev-parse", "HEAD~1").strip()
    for wanted, line, number in (("prompts.jsonl:1", 1, 1), ("12", 2, 3), ("2", 2, 3)):
        trace = traced(made, "asked", wanted)
        assert trace["line"] == line
        assert (trace["raw"]["file"], trace["raw"]["number"]) == ("config/prompts.jsonl", number)
        assert trace["raw"]["content"]["prompt"] == trace["row"]["prompt"]
        assert trace["raw"]["revision"] == commit
        assert trace["lineage"][0] == "checkpoints/second"


def test_hashes_are_followed_when_names_moved_on(project: Demo) -> None:
    wanted = next(name for name in row_ids(project) if name.startswith("own/"))
    then = traced(project, "second", wanted)
    commit = project.git("rev-parse", "--short=12", "HEAD").strip()
    own = project.folder / "config/own.jsonl"
    own.write_text(CONFIG["own.jsonl"].replace("Where", "When"))
    project.run("dvc", "repro", "--quiet", "--single-item", "process-own")
    project.commit("other questions")
    now = traced(project, "second", wanted)
    earlier = {
        "data/processed/own": {
            "place": "in the cache",
            "remedy": f"dvc get --rev {commit} . data/processed/own --out data/processed/own@{commit}",
        },
        "config/own.jsonl": {"place": "in git"},
    }
    expected = [artifact | earlier.get(artifact["path"], {}) for artifact in then["artifacts"]]
    assert now == then | {"artifacts": expected}
    assert now["raw"]["content"]["messages"][0]["content"].startswith("Where is ")
    assert now["raw"]["revision"] == project.git("rev-parse", "HEAD~2").strip()
    assert now["raw"]["sha256"] == hashlib.sha256(CONFIG["own.jsonl"].encode()).hexdigest()
    project.run(*shlex.split(earlier["data/processed/own"]["remedy"]))
    (md5,) = (artifact["md5"] for artifact in expected if artifact["path"] == "data/processed/own")
    assert bytes_hash(str(project.folder / f"data/processed/own@{commit}")) == md5


def test_what_is_not_here_is_named_with_its_remedy(project: Demo) -> None:
    wanted = row_ids(project)[0]
    generations = project.folder / "generations/second/generations.jsonl"
    generations.write_text(generations.read_text().replace('"completion"', '"edited"'))
    shutil.rmtree(project.folder / "checkpoints")
    trace = traced(project, "second", wanted)
    assert "completion" in trace["row"]
    assert trace["weights_match"] is None
    assert trace["missing"] == [
        "generations/second was edited since; this is the line as dvc.lock records it",
        "whether checkpoints/second holds the weights that answered: checkpoints/second as recorded is in the cache: "
        "dvc checkout checkpoints/second",
    ]
    shutil.rmtree(project.folder / ".dvc/cache")
    shutil.rmtree(project.folder / "data")
    assert mistake(project, "second", wanted) == (
        "error: generations/second as dvc.lock records it is not on this machine: dvc pull generations/second\n"
    )
    trace = traced(project, "asked", "12")
    assert trace["missing"][0].endswith("checkpoints/second as recorded is not here: dvc pull checkpoints/second")
    assert trace["raw"]["content"] == {"prompt": "Twice", "id": "12"}


def test_the_light_environment_tells_all_but_arrow(made: Demo, tmp_path: Path) -> None:
    for package in ("datasets", "pyarrow"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('not installed', name={package!r})\n")
    light = Demo(made.folder, tmp_path)
    light.environment = made.environment | {"PYTHONPATH": str(tmp_path)}
    whole, trace = traced(made, "second", "1"), traced(light, "second", "1")
    assert trace["missing"] == [
        "data/processed/mixed/test/data-00000-of-00001.arrow cannot be read without pyarrow: make setup",
    ]
    assert trace["raw"] == whole["raw"] and trace["artifacts"] == whole["artifacts"]
    assert trace["weights_match"] is True
    assert "generations/asked/generations.parquet cannot be read without pyarrow: make setup" in mistake(
        light, "asked", "1"
    )


def test_mistakes_are_told_in_a_sentence(project: Demo) -> None:
    wanted = row_ids(project)[0]
    count = len(row_ids(project))
    assert mistake(project, "second", f"{wanted}0") == (
        f"error: generations/second has no row {wanted}0: give a row_id, for example {wanted}, or a line from 1 to "
        f"{count}\n"
    )
    assert "has no row 99: give a row_id" in mistake(project, "second", "99")
    assert f"has 2 answers to {wanted}: give --sample from 0" in mistake(project, "second", wanted, "--sample", "2")
    assert "generations/secnd: dvc.lock records no such generations; did you mean generations/second?" in mistake(
        project, "secnd", "1"
    )
    (project.folder / "dvc.lock").unlink()
    assert "there is no dvc.lock here" in mistake(project, "second", "1")


def test_sampled_answers_are_reproduced_to_the_byte(project: Demo) -> None:
    done = project.make("reproduce", "STAGE=generate-second", "COMMIT=HEAD")
    (out,) = (line.split() for line in done.splitlines() if line.startswith("same "))
    assert out[1:] == ["generations/second", bytes_hash(str(project.folder / "generations/second"))]


def test_bytes_are_those_of_the_last_version_or_the_changelog_says_why(made: Demo) -> None:
    """One line of CHANGELOG.md for each kind of stage, and hashes of what the stages of this project made."""
    found = released_bytes.measured(made)
    assert found.keys() == set(KINDS) - {*released_bytes.NOT_MEASURED}
    if os.environ.get("RECORD_BYTES"):
        version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
        released_bytes.record(found, version)
    told = bytes_told((REPOSITORY / "CHANGELOG.md").read_text())
    last = released_bytes.recorded()
    other = [kind for kind in last if found[kind] != last[kind] and told[kind] == SAME]
    assert other == [], (
        f"stages of these kinds make other bytes than in the last version, and CHANGELOG.md says `{SAME}`: users would "
        "train again. If that was not meant, find what changed them. If it was, write under `### Bytes` "
        + ", ".join(f"- `{kind}`: other bytes: WHY" for kind in other)
    )
    if "train" not in last:
        pytest.skip(
            f"weights and scores were not compared: none are recorded for processors of {released_bytes.processor()}; "
            f"compared were {', '.join(last)}"
        )
