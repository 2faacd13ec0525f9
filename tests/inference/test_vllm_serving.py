"""scripts/serve.py by vLLM: its server behind the token, with a run's adapter, template and end tokens."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate import PartialState
from asked_server import Server, begun
from peft import PeftModel
from test_serving import TALK, installed
from tiny_place import environment
from trained_project import RUN, made_adapter
from transformers import AutoModelForCausalLM, AutoTokenizer
from warm_start import warm_ranks
from watched_processes import processes_in, wait_for

import serve
from heirloom.config.sections.generation import GenerationSection
from heirloom.errors import HeirloomError
from heirloom.inference.vllm.engine import load_for_vllm
from heirloom.inference.vllm.environment import VARIABLE
from heirloom.publishing.vllm_server import vllm_server


@pytest.fixture(scope="module")
def of_wide(project: Path, wide: Path) -> Path:
    """The project with an adapter on a model that vLLM's kernels for CPUs know: run `slim`.

    Its answers end with the sixth token of what its checkpoint would write.
    """
    shutil.copytree(wide, project / "models/wide")
    made_adapter(project, "slim", "models/wide", "float32")
    generation = {"max_new_tokens": 8, "eos_tokens": str(greedy(project)[5])}
    run = RUN | {"base": "demo-tiny", "peft": {"r": 4, "target_modules": ["q_proj", "down_proj"]}}
    (project / "config/runs/slim.yaml").write_text(json.dumps(run | {"generation": generation}))
    return project


def greedy(project: Path) -> list[int]:
    """Return the eight tokens that the checkpoint of `slim` goes on with, by plain transformers and peft."""
    folder = project / "checkpoints/slim"
    base = AutoModelForCausalLM.from_pretrained(project / "models/wide")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), PeftModel.from_pretrained(base, folder)
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**ids, do_sample=False, min_new_tokens=8, max_new_tokens=8)
    return output[0, ids["input_ids"].shape[1] :].tolist()


@pytest.fixture(scope="module")
def server(of_wide: Path, vllm: Path) -> Iterator[Server]:
    """A server whose engine is not named: vLLM is there, and can serve the model."""
    warm = warm_ranks()
    process = subprocess.Popen(
        [warm["PYTHON_EXEC"], "scripts/serve.py", "slim", "--port", "0"],
        cwd=of_wide, env=environment() | warm | {VARIABLE: str(vllm)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    yield begun(process)
    process.kill()
    process.wait()


@installed
def test_a_client_of_openai_is_answered_by_vllm_as_the_run_answers(of_wide: Path, server: Server, monkeypatch) -> None:
    import openai

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tokenizer, tokens = AutoTokenizer.from_pretrained(of_wide / "checkpoints/slim"), greedy(of_wide)
    half = "\ufffd"  # the first bytes of a letter, with which an answer may end: vLLM does not show them
    expected = tokenizer.decode(tokens[: tokens.index(tokens[5])], skip_special_tokens=True).rstrip(half)

    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0)
    whole = client.chat.completions.create(model="slim", messages=TALK)
    assert whole.choices[0].message.content == expected and whole.model == "slim"
    assert whole.choices[0].finish_reason == "stop"
    streamed = [
        part.choices[0].delta.content or ""
        for part in client.chat.completions.create(model="slim", messages=TALK, stream=True)
    ]
    assert "".join(streamed) == expected and len([part for part in streamed if part]) > 1
    beneath = client.chat.completions.create(model="slim.base", messages=TALK)
    assert beneath.choices[0].message.content != expected and beneath.usage.completion_tokens <= 8
    drawn = client.chat.completions.create(model="slim", messages=TALK, temperature=2, n=3, seed=1)
    assert len({choice.message.content for choice in drawn.choices}) == 3
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=TALK)
    with pytest.raises(openai.BadRequestError, match="128"):
        client.completions.create(model="slim", prompt="Ada found a kite. " * 100)
    for path in ("/docs", "/metrics", "/tokenize", "/v1/load_lora_adapter"):
        assert server.ask(path, {})[0] == 404


@installed
def test_whoever_ends_it_while_it_loads_ends_vllm(of_wide: Path, vllm: Path) -> None:
    """Its engine, a process of its own, stayed, with all of the card's memory."""
    others = engines_in(of_wide)  # the one of the server that other tests ask
    process = subprocess.Popen(
        [sys.executable, "scripts/serve.py", "slim", "--engine", "vllm", "--port", "0"],
        cwd=of_wide, env=environment() | {VARIABLE: str(vllm)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    wait_for(lambda: len(engines_in(of_wide)) > len(others))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and said.splitlines()[-1] == "stopped"
    wait_for(lambda: engines_in(of_wide) == others)


def engines_in(folder: Path) -> list[int]:
    """Return the processes of vLLM's engine."""
    names = {process: Path(f"/proc/{process}/comm") for process in processes_in(folder)}
    return [process for process, name in names.items() if name.exists() and "EngineCor" in name.read_text()]


@installed
def test_whoever_ends_it_ends_vllm(of_wide: Path, server: Server) -> None:
    server.process.send_signal(signal.SIGINT)
    said, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 0 and said.strip() == "stopped"
    wait_for(lambda: not processes_in(of_wide))


def test_what_vllm_cannot_serve_is_said_with_its_reason(of_wide: Path, tmp_path: Path, monkeypatch) -> None:
    """Here the Python of its environment has no vLLM."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "ready").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.chdir(of_wide)
    checkpoint = Path("checkpoints/slim")
    answerer = load_for_vllm(checkpoint, GenerationSection(engine="vllm"), PartialState(cpu=True))
    said = r"vLLM cannot serve the model \(ModuleNotFoundError: No module named 'vllm'.*: .*/slim-\d+.log has all"
    with pytest.raises(HeirloomError, match=said), vllm_server("slim", checkpoint, answerer, trusted=False):
        pass


@installed
def test_where_vllm_cannot_serve_the_model_transformers_does(
    of_wide: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    served = []
    (tmp_path / "ready").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(serve, "by_transformers", lambda trained, _: served.append(trained.run.name))
    monkeypatch.setattr(serve, "__file__", str(of_wide / "scripts/serve.py"))
    monkeypatch.setattr(sys, "argv", ["serve.py", "whole", "--port", "0"])
    monkeypatch.chdir(of_wide)
    serve.main()
    assert served == ["whole"]
    assert "for vLLM cannot: generation.engine: vllm has no attention on CPUs for heads of" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["serve.py", "whole", "--port", "0", "--engine", "vllm"])
    with pytest.raises(SystemExit, match="^1$"):
        serve.main()
    assert capsys.readouterr().err.startswith("error: serving whole: generation.engine: vllm has no attention on CPUs")
