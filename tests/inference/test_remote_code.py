"""A model and a tokenizer that bring code of their own: run where the run says so, refused without a question else."""

import builtins
import json
import shutil

import pytest
from accelerate import PartialState
from transformers import PreTrainedModel

from heirloom.config.sections.generation import GenerationSection
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.perplexity import perplexity_scores, row_likelihoods
from heirloom.inference.engines import load_answerer
from heirloom.inference.prompts import read_prompts
from heirloom.models import tokenizer_files
from heirloom.models.remote_code import trust
from heirloom.models.trained_checkpoints import load_model

MODEL = """\
from transformers import LlamaConfig, LlamaForCausalLM


class OddConfig(LlamaConfig):
    model_type = "odd"


class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig
"""
TOKENIZER = """\
from transformers import PreTrainedTokenizerFast


class OddTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(scope="module")
def odd(place):
    """The tiny model and its tokenizer, which only their own two files of code can load."""
    folder = place.folder / "odd"
    shutil.copytree(place.folder / "model", folder)
    (folder / "odd_model.py").write_text(MODEL)
    (folder / "odd_tokenizer.py").write_text(TOKENIZER)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "odd_model.OddConfig", "AutoModelForCausalLM": "odd_model.OddForCausalLM"}
    config |= {"model_type": "odd", "architectures": ["OddForCausalLM"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "OddTokenizer", "auto_map": {"AutoTokenizer": [None, "odd_tokenizer.OddTokenizer"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(autouse=True)
def silent(monkeypatch, tmp_path):
    """Nobody is asked anything; and no test's decision reaches the next one."""
    monkeypatch.setattr(builtins, "input", lambda *asked: pytest.fail(f"somebody was asked: {asked}"))
    yield
    trust(False)


def test_code_is_refused_where_nobody_trusts_it(place, odd):
    expected = (
        f"{odd}: brings code of its own (odd_model.py, odd_tokenizer.py), which is not run unless the run says so: "
        "read it, then set trust_remote_code: true at the top of the run's file (by hand: --trust_remote_code true)"
    )
    for load in (
        lambda: load_answerer(odd, GenerationSection(), PartialState(cpu=True)),
        lambda: row_likelihoods(odd, place.folder / "chats", 4, PartialState(cpu=True)),
        lambda: tokenizer_files.load_tokenizer(odd),
        lambda: Tokenizer(odd),
    ):
        with pytest.raises(HeirloomError) as caught:
            load()
        assert str(caught.value) == expected


def test_a_trusted_model_goes_through_every_stage(place, odd, tmp_path):
    """Fetched tokenizer, data, answers and scores: as with the same weights under transformers' own class."""
    trust(True)
    tokenizer_files.save_tokenizer(tokenizer_files.load_tokenizer(odd), tmp_path / "tokenizer")
    texts = ["Ada found a kite.", "Who?"]
    encoded = [
        [row.ids for row in Tokenizer(folder).encode(texts, add_special_tokens=False)]
        for folder in (tmp_path / "tokenizer", place.folder / "model")
    ]
    assert encoded[0] == encoded[1] and (tmp_path / "tokenizer" / "odd_tokenizer.py").read_text() == TOKENIZER
    one = PartialState(cpu=True)
    prompts = read_prompts(place.folder / "chats", 3)
    rows = []
    for folder in (odd, place.folder / "model"):
        answerer = load_answerer(folder, GenerationSection(max_new_tokens=8), one)
        rows.append([row["completion"] for row in answerer.answer(prompts)])
        rows[-1].append(perplexity_scores(row_likelihoods(folder, place.folder / "chats", 4, one)).nested())
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_answers_and_scores_take_the_attention_that_is_chosen(place, monkeypatch, name):
    answerer = load_answerer(
        place.folder / "model", GenerationSection(attn_implementation=name), PartialState(cpu=True)
    )
    assert answerer.model.config._attn_implementation == name
    used = []

    def noted(*how: object) -> PreTrainedModel:
        used.append(load_model(*how))
        return used[-1]

    monkeypatch.setattr("heirloom.evaluation.likelihoods.log_likelihood.load_model", noted)
    row_likelihoods(place.folder / "model", place.folder / "text", 4, PartialState(cpu=True), name)
    assert [model.config._attn_implementation for model in used] == [name]


def test_attention_that_is_code_of_a_hub_is_not_fetched_for_a_configuration(place, tmp_path):
    shutil.copytree(place.folder / "model", tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attn_implementation": "owner/kernel"}))
    with pytest.raises(HeirloomError) as caught:
        load_answerer(tmp_path / "model", GenerationSection(), PartialState(cpu=True))
    assert str(caught.value).startswith(f"{file}: wants the attention of owner/kernel, code of a hub, which is not run")
