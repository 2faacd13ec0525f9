"""create_tokenizer.py and create_model.py: the same bytes each time, loadable, and clear about mistakes."""

import json

import boto3
import pytest
from loopback_hub import LoopbackHub
from moto.server import ThreadedMotoServer
from training_workplace import MODEL_CONFIG, ROOT, tree
from transformers import AutoModelForCausalLM, AutoTokenizer

from heirloom.config.sections.init import InitSection
from heirloom.errors import HeirloomError
from heirloom.models.fresh_models import model_config
from heirloom.models.tokenizer_training import train_bpe
from heirloom.models.vocabulary import check_vocabulary

SCRIPTS = ROOT / "scripts"


def make_tokenizer(workplace, config, output, *more, **kwargs):
    script = str(SCRIPTS / "create_tokenizer.py")
    return workplace.launch("python", script, "--config", config, "--output", output, *more, **kwargs)


def test_tokenizer_and_model_are_made_again_with_the_same_bytes(workplace):
    make_tokenizer(workplace, "model.yaml", "again/tokenizer", "--sections", "tokenizer", "--raw", "raw")
    workplace.launch(
        *("python", str(SCRIPTS / "create_model.py"), "--config", "model.yaml", "--sections", "init"),
        *("--tokenizer", "again/tokenizer", "--output", "again/model"),
    )
    assert tree(workplace.folder / "again" / "tokenizer") == tree(workplace.folder / "tokenizer")
    assert tree(workplace.folder / "again" / "model") == tree(workplace.folder / "model")


def test_the_model_folder_loads_with_its_tokenizer(workplace):
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "model")
    model = AutoModelForCausalLM.from_pretrained(workplace.folder / "model")
    assert len(tokenizer) == model.config.vocab_size == 300
    assert tokenizer.decode(tokenizer("Zoë 漢字 \n\t x")["input_ids"]) == "Zoë 漢字 \n\t x"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == tokenizer.get_vocab()["<|end|>"]
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert rendered == "<|user|>Hi<|end|>"


@pytest.fixture(scope="module")
def places(workplace):
    """The workplace's model on a hub and on S3, both on this machine: sources by name, and how to reach them."""
    files = tree(workplace.folder / "model")
    hub = LoopbackHub(tokens={"hf_may_read": {"org/gated"}})
    commit = hub.add("org/model", {**files, "README.md": b"a card", "pytorch_model.bin": b"older"}, kind="model")
    hub.add("org/gated", files, kind="model", gated=True)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    endpoint = "http://{}:{}".format(*moto.get_host_and_port())
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **{name.lower(): keys[name] for name in list(keys)[:2]})
    client.create_bucket(Bucket="models")
    for name, content in files.items():
        client.put_object(Bucket="models", Key=f"mine/{name}", Body=content)
    with hub:
        reach = {"HF_ENDPOINT": hub.url, "HF_HOME": str(workplace.folder / "hf"), "HF_HUB_OFFLINE": "0", **keys}
        reach |= {"AWS_ENDPOINT_URL": endpoint, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        sources = {"hub": {"hub": "org/model", "revision": commit}, "s3": {"s3": "s3://models/mine"}}
        yield {**sources, "path": {"path": "model"}}, reach
    moto.stop()


@pytest.mark.parametrize(("tokenizer_from", "model_from"), [("hub", "s3"), ("path", "hub")])
def test_a_source_gives_its_own_tokenizer_and_model(workplace, places, tokenizer_from, model_from):
    """`source:` takes both over; `tokenizer:` beside it changes what it names."""
    sources, reach = places
    (workplace.folder / "other.jinja").write_text("{{ messages[0].content }}")
    changes = {"chat_template": "other.jinja"}
    config = workplace.config("tokenizer.yaml", source=sources[tokenizer_from], tokenizer=changes)
    tokenizer, model = f"from-{tokenizer_from}/tokenizer", f"from-{model_from}/model"
    make_tokenizer(workplace, config, tokenizer, "--sections", "source,tokenizer", **reach)
    workplace.launch(
        *(
            "python",
            str(SCRIPTS / "create_model.py"),
            "--config",
            workplace.config("m.yaml", source=sources[model_from]),
        ),
        *("--sections", "source", "--tokenizer", tokenizer, "--output", model),
        **reach,
    )
    taken, original = tree(workplace.folder / model), tree(workplace.folder / "model")
    changed = {name for name in original if taken.get(name) != original[name]}
    notes = {name: json.loads(taken[name]) for name in taken.keys() - original.keys()}
    assert notes == ({"heirloom.json": {"hub": ["org/model"]}} if model_from == "hub" else {})
    assert changed == {"chat_template.jinja"}
    assert str(workplace.folder).encode() not in b"".join(taken.values())


def test_a_gated_model_says_what_to_do(workplace, places):
    config = workplace.config("gated.yaml", source={"hub": "org/gated"})
    refused = make_tokenizer(workplace, config, "gated", "--sections", "source", check=False, **places[1])
    assert refused.returncode == 1 and "org/gated is gated: ask for access" in refused.stdout
    assert "Traceback" not in refused.stdout
    granted = make_tokenizer(workplace, config, "gated", "--sections", "source", HF_TOKEN="hf_may_read", **places[1])
    assert "warning: hub: org/gated is not pinned" in granted.stdout
    assert not any(b"hf_may_read" in content for content in tree(workplace.folder / "gated").values())


def test_a_vocabulary_that_the_text_cannot_fill_is_an_error(workplace):
    section = {**MODEL_CONFIG["tokenizer"], "vocab_size": 5000}
    config = workplace.config("large.yaml", tokenizer=section)
    done = make_tokenizer(workplace, config, "large", "--sections", "tokenizer", "--raw", "raw", check=False)
    assert done.returncode == 1
    assert "tokenizer.vocab_size is 5000, but the text gives only" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (workplace.folder / "large").exists()


def test_training_a_tokenizer_does_not_depend_on_how_texts_are_fed():
    texts = [f"{number} apples and {number * 7} pears" for number in range(300)]
    once = train_bpe(iter(texts), 320, ["<pad>"]).to_str()
    assert train_bpe(texts, 320, ["<pad>"]).to_str() == once
    assert json.loads(once)["model"]["vocab"]["<pad>"] == 0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"model_type": "lama"}, "did you mean llama?"),
        ({"model_type": "llama", "hiden_size": 8}, "init.hiden_size: llama has no such key, did you mean hidden_size?"),
    ],
)
def test_what_transformers_would_swallow_is_an_error(workplace, section, said):
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "tokenizer")
    with pytest.raises(HeirloomError, match=said.replace("?", r"\?")):
        model_config(InitSection.model_validate(section), tokenizer)


def test_token_ids_that_the_model_does_not_know_are_an_error():
    check_vocabulary(300, 320, "tokenizer", "model")  # a model may have more
    with pytest.raises(HeirloomError, match="tokenizer: has 301 tokens, but the model model knows 300"):
        check_vocabulary(301, 300, "tokenizer", "model")
