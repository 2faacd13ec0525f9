"""The card of a checkpoint whose chain begins on the hub, and the hashes and origins behind it."""

import json

import pytest
import yaml

from heirloom.training.checkpoints.model_card import model_card
from heirloom.training.checkpoints.provenance import dataset_facts, trace


@pytest.fixture
def chain(tmp_path):
    """A hub model, a checkpoint trained from it, and a mixture that was written without noted hashes."""
    for name, facts in (
        ("llama3-8b", {"hub": ["meta-llama/Meta-Llama-3-8B"]}),
        ("tuned", {"trainer": "sft", "dataset": {"name": "chats", "hub": ["org/chats"], "splits": {}}}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
        lineage = {"lineage": trace(tmp_path / "llama3-8b", dataset(tmp_path)).lineage} if name == "tuned" else {}
        (tmp_path / name / "heirloom.json").write_text(json.dumps({**facts, **lineage}))
    return tmp_path


def dataset(folder):
    (folder / "pairs" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "pairs" / "train" / "data-00000-of-00001.arrow").write_bytes(b"rows")
    (folder / "pairs" / "dataset.json").write_text(
        json.dumps({"kind": "preference", "hub": ["org/pairs", "org/chats"]})
    )
    return folder / "pairs"


def card(chain, held_out, **more):
    config = {"training": {"learning_rate": 1e-05, "beta": 0.1}, "peft": {"r": 8}}
    progress = {"steps": 1200, "tokens": 3456789}
    found = trace(chain / "tuned", dataset(chain))
    return model_card("aligned", "dpo", "trl.DPOTrainer", found, config, progress, held_out, **more)


def test_the_hub_finds_base_and_datasets_of_the_whole_chain(chain):
    text = card(chain, {"before": {"loss": 0.7}, "after": {"loss": 0.5, "new": 1.0}})
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["base_model"] == ["meta-llama/Meta-Llama-3-8B"]
    assert front["datasets"] == ["org/chats", "org/pairs"] and "license" not in front
    assert "| llama3-8b (meta-llama/Meta-Llama-3-8B) | not trained here |" in text
    assert "| tuned | `sft` on chats |" in text
    assert "1,200 optimizer steps, 3,456,789 tokens" in text
    assert "| loss | 0.7 | 0.5 |\n| new |  | 1.0 |" in text and "peft:\n  r: 8\n" in text
    assert "dvc repro --force --single-item train-aligned" in text and str(chain) not in text


def test_a_card_of_an_adapter_names_its_model(chain):
    text = card(chain, {"before": {}, "after": {}}, adapter_of="models/llama3-8b")
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "peft"
    assert "An adapter of `models/llama3-8b`" in text and "merge_adapter.py checkpoints/aligned FOLDER" in text


def test_a_card_of_a_reward_model_says_how_it_is_used(chain):
    text = card(chain, {"before": {}, "after": {}}, scores=True)
    assert yaml.safe_load(text.split("---\n")[1])["pipeline_tag"] == "text-classification"
    assert "`AutoModelForSequenceClassification` loads it" in text
    assert "A reward model" not in card(chain, {"before": {}, "after": {}})


def test_a_card_without_held_out_rows_says_so(chain):
    assert "Nothing was held out" in card(chain, {"before": {}, "after": {}})


def test_a_base_is_known_by_its_weights_not_by_its_place(chain):
    found = trace(chain / "tuned", dataset(chain))
    (chain / "tuned").rename(chain / "elsewhere")
    moved = trace(chain / "elsewhere", chain / "pairs")
    assert [model["weights"] for model in moved.lineage] == [model["weights"] for model in found.lineage]
    assert (found.root, found.base["name"], moved.base["name"]) == ("llama3-8b", "tuned", "elsewhere")
    (chain / "elsewhere" / "model.safetensors").write_bytes(b"other")
    assert trace(chain / "elsewhere", chain / "pairs").base["weights"] != found.base["weights"]


def test_noted_hashes_of_a_dataset_are_taken_over_and_missing_ones_computed(chain):
    computed = dataset_facts(dataset(chain))["splits"]["train"]["sha256"]
    assert len(computed) == 64
    noted = {"kind": "preference", "splits": {"train": {"rows": 3, "sha256": "noted"}}}
    (chain / "pairs" / "dataset.json").write_text(json.dumps(noted))
    assert dataset_facts(chain / "pairs")["splits"]["train"] == {"rows": 3, "sha256": "noted"}
