"""A model's file in config/models/, written from its own small files: of the hub, and of a folder."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub
from ruamel.yaml import YAML

import add_model
from heirloom.config.model import Model
from heirloom.errors import HeirloomError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "model_type": "qwen3", "dtype": "bfloat16", "vocab_size": 600, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "tie_word_embeddings": True,
}  # fmt: skip
CARD = "---\nlicense: apache-2.0\nlanguage: [en]\n---\n# A model\n"


@pytest.fixture
def model_folder(tokenizer_folder, tmp_path, monkeypatch) -> Path:
    """A folder as the hub has them, without weights, in a folder that is the project."""
    folder = tmp_path / "Tiny.Chat"
    shutil.copytree(tokenizer_folder, folder)
    change(folder / "tokenizer_config.json", eos_token="<|endoftext|>", chat_template=CHATML)
    (folder / "config.json").write_text(json.dumps({**SIZES, "max_position_embeddings": 4096}))
    (folder / "README.md").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    return folder


def change(file: Path, **keys: object) -> None:
    content = json.loads(file.read_text()) | keys
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def add(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["add_model.py", *map(str, arguments)])
    add_model.main()


def written(name: str) -> tuple[str, dict]:
    """Return a model's file as text and as a value that the config's check takes."""
    text = Path(f"config/models/{name}.yaml").read_text()
    value = YAML(typ="safe", pure=True).load(text)
    _, problems = Model.check(value, f"config/models/{name}.yaml")
    assert not problems
    return text, value


def test_a_model_of_the_hub_is_pinned_and_its_template_decides_the_end_token(model_folder, run_script, tmp_path):
    """As Qwen's base models have it: the tokenizer ends texts with one token, the template turns with another."""
    hub = LoopbackHub()
    files = {path.name: path.read_bytes() for path in model_folder.iterdir()}
    commit = hub.add("owner/Tiny.Chat", {**files, "model.safetensors": b"x" * 1000}, kind="model")
    with hub:
        done = run_script(
            "add_model.py", "owner/Tiny.Chat", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="", HF_HOME=str(tmp_path)
        )
    assert done.returncode == 0, done.stderr
    text, value = written("tiny-chat")
    assert value == {
        "source": {"hub": "owner/Tiny.Chat", "revision": commit},
        "tokenizer": {"eos_token": "<|im_end|>"},
        "shape": SIZES,
    }
    assert "\n# licence: apache-2.0\n" in text and "TODO" not in text
    assert done.stdout.splitlines() == [
        "wrote config/models/tiny-chat.yaml: qwen3, 112,512 parameters, licence apache-2.0",
        "a text may be 4,096 tokens long: max_length of its datasets is at most that",
        "<|im_end|> ends a turn in its chat template, so it is the end token",
        "nothing is left to decide",
    ]
    assert not [path for path, _ in hub.requests if path.endswith(".safetensors")]


def test_what_a_folder_does_not_say_is_left_to_decide(model_folder, monkeypatch, capsys):
    change(model_folder / "tokenizer_config.json", chat_template=None, eos_token=None)
    change(model_folder / "config.json", model_type="gpt2", n_embd=64, n_head=2, n_layer=2)
    (model_folder / "README.md").write_text("---\n{{ not: yaml\n---\n")
    add(monkeypatch, model_folder.name, "--name", "plain")
    text, value = written("plain")
    assert value == {"source": {"path": "Tiny.Chat"}}
    assert "# licence: its card names none\n" in text
    assert "# TODO tokenizer.chat_template: it has none" in text and "# TODO tokenizer.eos_token: it has none" in text
    said = capsys.readouterr().out
    assert "the plan knows neither its memory nor its operations: model type gpt2" in said
    with pytest.raises(HeirloomError, match=r"config/models/plain.yaml: exists already: give another --name"):
        add(monkeypatch, model_folder.name, "--name", "plain")


def test_a_template_that_leaves_an_answer_out_is_told(model_folder, monkeypatch, capsys):
    only_users = (
        "{% for message in messages %}{% if message.role == 'user' %}{{ message.content }}{% endif %}{% endfor %}"
    )
    change(model_folder / "tokenizer_config.json", chat_template=only_users)
    add(monkeypatch, model_folder.name)
    said = capsys.readouterr().out
    assert "to decide: tokenizer.chat_template: two turns of a chat cannot be trained on with its own: " in said


def test_what_cannot_be_trained_here_gets_no_file(model_folder, monkeypatch):
    (model_folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(HeirloomError, match="vit is none of"):
        add(monkeypatch, model_folder.name)
    (model_folder / "config.json").unlink()
    with pytest.raises(HeirloomError, match=r"Tiny.Chat: has no config.json, so it is no model of transformers"):
        add(monkeypatch, model_folder.name)
    assert not Path("config/models").exists() or not list(Path("config/models").iterdir())
