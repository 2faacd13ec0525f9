"""scripts/export.py: a whole model that plain transformers loads, read again and held against its checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_place import environment
from trained_project import TEMPLATE
from transformers import AutoModelForCausalLM, AutoTokenizer

import export
from heirloom.json_files import read_json, write_json
from heirloom.models.trained_checkpoints import load_model
from heirloom.models.weights import weights_hash
from heirloom.publishing import whole_model

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from loopback_hub import LoopbackHub  # noqa: E402

TOKEN = "hf_may_write"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing by threads, which spin where several workers share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def measured_once() -> Callable:
    """`export.measured`, which measures each run's checkpoint once for all tests."""
    measure, found = export.measured, {}

    def once(trained):
        name = trained.run.name
        found[name] = found.get(name) or measure(trained)
        return found[name]

    return once


@pytest.fixture
def exported(
    project: Path, measured_once: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable:
    """Run the program in this process: (exit status, what it prints and its error)."""

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(export, "measured", measured_once)
        monkeypatch.setattr(export, "__file__", str(project / "scripts/export.py"))
        monkeypatch.setattr(sys, "argv", ["export.py", *words])
        monkeypatch.chdir(project)
        try:
            status = export.main() or 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


@pytest.mark.parametrize(("run", "dtype"), [("whole", "float32"), ("tuned", "float32"), ("narrow", "bfloat16")])
def test_an_export_is_the_checkpoint_in_plain_transformers(project, exported, run, dtype, monkeypatch):
    status, said = exported(run)
    assert status == 0 and f"exports/{run}: {dtype}, perplexity" in said, said
    assert "8 of 8 greedy answers equal" in said
    folder, checkpoint = project / "exports" / run, project / "checkpoints" / run
    assert not {"adapter_config.json", "trainer_state.json"} & {file.name for file in folder.iterdir()}
    monkeypatch.chdir(project)  # an adapter names its base from here
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    with torch.no_grad():
        found, expected = plain(ids).logits, load_model(checkpoint.relative_to(project), "auto")(ids).logits
    assert str(plain.dtype) == f"torch.{dtype}" and torch.equal(found, expected)
    result = read_json(project / f"exports/{run}.export.json")
    assert result == read_json(project / f".heirloom/exports/{run}.json")["exports"][0]
    assert result["passed"] and result["weights"] == weights_hash(folder) and result["nats_apart"] <= 1e-5
    assert result["checkpoint"] == weights_hash(checkpoint)
    assert (result["weights"] == result["checkpoint"]) is (run == "whole")
    card = (folder / "README.md").read_text()
    assert "## This copy" in card and result["checkpoint"] in card
    assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE
    assert read_json(folder / "generation_config.json")["eos_token_id"] == 0


def one_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("down_proj.weight"))
    weights[name] = weights[name] * 1.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def swapped_tokenizer(folder: Path) -> None:
    other = read_json(folder / "tokenizer.json")
    vocabulary = other["model"]["vocab"]
    first, second = [word for word, number in vocabulary.items() if number in (40, 41)]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    write_json(folder / "tokenizer.json", other)


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def other_ends(folder: Path) -> None:
    write_json(folder / "generation_config.json", read_json(folder / "generation_config.json") | {"eos_token_id": 7})


def cut_short(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 5000)


@pytest.mark.parametrize(
    ("run", "spoil", "said"),
    [
        ("tuned", one_tensor, "nats a token apart, 1e-05 allowed"),
        ("narrow", one_tensor, "nats a token apart, 0.002 allowed"),
        ("whole", one_tensor, "its weights have the hash"),
        ("whole", swapped_tokenizer, "its tokenizer is another"),
        ("whole", no_template, "its chat template is missing"),
        ("whole", other_ends, "its answers end at the tokens 7, and the run's at [0]"),
        ("whole", cut_short, "exports/spoilt/model.safetensors is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_export_is_refused_and_nothing_is_put_there(project, exported, monkeypatch, run, spoil, said):
    def spoilt(*arguments):
        whole_model.write_whole(*arguments)
        spoil(arguments[2])

    monkeypatch.setattr(export, "write_whole", spoilt)
    status, error = exported(run, "--output", str(project / "exports/spoilt"))
    assert status == 1 and error.count("\n") == 1 and said in error and "nothing was put there" in error, error
    assert not [path for path in (project / "exports").iterdir() if "spoilt" in path.name]
    *_, result = read_json(project / f".heirloom/exports/{run}.json")["exports"]
    assert result["place"] == "exports/spoilt" and not result["passed"] and said in "; ".join(result["problems"])


def test_what_cannot_be_exported_is_told_before_anything_is_loaded(project, exported, monkeypatch):
    def refused(*words: str) -> str:
        status, error = exported(*words)
        assert status == 1 and error.count("\n") == 1, error
        return error

    assert "no run is called whol; did you mean whole?" in refused("whol")
    assert "checkpoints/untrained was never made: `snakemake --config runs=untrained`" in refused("untrained")
    block = "  train-untrained:\n    cmd: python\n    outs:\n    - path: checkpoints/untrained\n"
    (project / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{block}      md5: {'0' * 32}.dir\n")
    assert "is recorded and not in this folder: `dvc pull train-untrained` brings it" in refused("untrained")
    (project / "dvc.lock").unlink()  # the project is other tests' too
    (project / "mine").mkdir(exist_ok=True)
    (project / "mine/notes.txt").write_text("not to be lost")
    status, error = exported("whole", "--output", "mine")
    assert status == 2 and "mine exists, and is not" in error
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "in the environment variable HF_TOKEN" in refused("whole", "--to", "hub", "--repository", "org/whole")
    usage = shutil.disk_usage(project)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1 << 20))
    assert "needs 0.1 GB and " in refused("whole", "--output", "elsewhere")
    settings = project / "checkpoints/whole/config.json"
    was = settings.read_text()
    settings.write_text(json.dumps(json.loads(was) | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    assert "checkpoints/whole: its weights are stored in 8 or 4 bits" in refused("whole")
    settings.write_text(json.dumps(json.loads(was) | {"architectures": ["LlamaForSequenceClassification"]}))
    assert "checkpoints/whole: is a reward model" in refused("whole")
    settings.write_text(was)


def test_a_push_is_downloaded_again_at_its_commit_and_only_then_tagged(project: Path, tmp_path: Path) -> None:
    hub = LoopbackHub(tokens={TOKEN: set()})
    hub.writers.add(TOKEN)
    with hub:
        reach = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        reach |= {"HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}

        def push(repository: str) -> subprocess.CompletedProcess:
            words = ("--output", "pushed", "--to", "hub", "--repository", repository, "--version", "v1.0.0")
            return subprocess.run(
                [sys.executable, "scripts/export.py", "whole", *words],  # cold: HF_ENDPOINT is read at the import
                cwd=project, env=environment() | reach, capture_output=True, text=True, check=False, timeout=240,
            )  # fmt: skip

        done = push("org/whole")
        assert done.returncode == 0, done.stdout + done.stderr
        hub.damaged.add("tokenizer.json")
        damaged = push("org/spoilt")
    repository = hub.repositories["model", "org/whole"]
    commit = repository.branches["main"]
    assert repository.branches["v1.0.0"] == commit and repository.private
    assert f"hub:org/whole@{commit}: float32, perplexity" in done.stdout
    files = {name: content for name, content in repository.commits[commit].items() if name != ".gitattributes"}
    assert files == {path.name: path.read_bytes() for path in (project / "pushed").iterdir()}
    assert damaged.returncode == 1 and "tokenizer.json of org/spoilt arrived damaged" in damaged.stderr
    assert "v1.0.0" not in hub.repositories["model", "org/spoilt"].branches
    assert not list(project.glob(".pushed.*.partial")) and TOKEN not in done.stdout + done.stderr + damaged.stderr
    places = [each["place"] for each in read_json(project / ".heirloom/exports/whole.json")["exports"]]
    assert "pushed" in places and f"hub:org/whole@{commit}" in places
