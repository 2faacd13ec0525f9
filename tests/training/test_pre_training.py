"""Pre-training by train.py on two ranks: rows joined to `seq_length`, a causal and a masked language model."""

import json

import pytest
from training_workplace import MODEL_CONFIG, ROOT, TRAINING, UNWATCHED, tree


@pytest.fixture
def masked_base(workplace):
    """A fresh BERT and its tokenizer, made by the stages that make them: the name of its folder.

    The mask token has the last id, so the ids of the workplace's text rows mean the same.
    """
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    changes = {"mask_token": "<|mask|>", "eos_token": MODEL_CONFIG["tokenizer"]["eos_token"]}
    source = workplace.config("mask.yaml", source={"path": "tokenizer"}, tokenizer=changes)
    model = workplace.config("masked.yaml", init={"model_type": "bert", "seed": 0, **sizes})
    scripts = ROOT / "scripts"
    workplace.launch(
        *("python", str(scripts / "create_tokenizer.py"), "--config", source, "--sections", "source,tokenizer"),
        *("--output", "masking-tokenizer"),
    )
    workplace.launch(
        *("python", str(scripts / "create_model.py"), "--config", model, "--sections", "init"),
        *("--tokenizer", "masking-tokenizer", "--output", "masked"),
    )
    return "masked"


def trained(workplace, output, base, **training):
    """Run train.py on the text rows to its end; return what it printed and its metrics."""
    sections = {"training": {**TRAINING, "pad_to_multiple_of": 8, "seq_length": 48, **training}, "tracking": UNWATCHED}
    before = tree(workplace.folder / "text")
    done = workplace.launch(*workplace.training("train.py", output, dataset="text", base=base, **sections))
    assert tree(workplace.folder / "text") == before
    return done.stdout, json.loads((workplace.folder / output / "metrics.json").read_text())


def test_rows_joined_to_seq_length(workplace):
    said, metrics = trained(workplace, "joined", "model", max_steps=7)  # an epoch, but for two rows
    assert "joined 172 rows into 114 of 48 tokens, 32 tokens at the end fill no row and are left out" in said
    assert metrics["train"]["tokens"] == 7 * 16 * 48  # steps × rows × tokens: every row is full
    assert metrics["after"]["loss"] < metrics["before"]["loss"] - 0.1


def test_a_masked_language_model(workplace, masked_base):
    mlm = {"collator": "mlm", "mlm_probability": 0.3, "max_steps": 60, "learning_rate": 1e-2}
    _, metrics = trained(workplace, "mlm", masked_base, **mlm)
    # A fresh model guesses: ln(301) = 5.7 nats. No figure is multiplied by the 2 ranks and 2 passes of a step.
    assert 5.2 < metrics["before"]["loss"] < 6.2
    assert metrics["after"]["loss"] < metrics["before"]["loss"] - 1
    assert metrics["after"]["loss"] < metrics["train"]["loss"] < metrics["before"]["loss"]
