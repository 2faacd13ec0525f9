"""Scores against computations by hand, through the script."""

import json
import math
import subprocess
import sys

import pytest
import torch
from accelerate import PartialState
from tiny_place import SCRIPTS, environment
from transformers import AutoModelForCausalLM

from heirloom.answer_metrics import exact_match, pattern_shares, token_counts
from heirloom.errors import HeirloomError
from heirloom.perplexity import measure_perplexity, read_rows
from heirloom.processed_dataset import load_split


def evaluate(place, name: str, section: dict, *flags: str, ranks: int = 1, check: bool = True):
    config = place.config(name, evaluation=section)
    inputs = [place.folder / flag if not flag.startswith("--") else flag for flag in flags]
    file = place.folder / f"{name}.json"
    command = ("--config", config, "--sections", "evaluation", *inputs, "--metrics", file)
    done = place.run("evaluate_model.py", *command, ranks=ranks, check=check)
    return json.loads(file.read_text()) if done.returncode == 0 else done


def nats_by_hand(place, dataset: str) -> list[float]:
    """Return the negative log-likelihood of every token that counts, one text at a time, without padding."""
    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    nats = []
    for row in load_split(place.folder / dataset, "test"):
        ids, labels = row["input_ids"], row.get("labels", row["input_ids"])
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
        for position in range(1, len(ids)):
            if labels[position] != -100:
                scores = logits[position - 1].tolist()
                nats.append(math.log(sum(map(math.exp, scores))) - scores[labels[position]])
    return nats


@pytest.mark.parametrize("dataset", ["text", "chats"])
def test_perplexity_is_that_computed_by_hand(place, dataset):
    """Rows differ in length, so that a mean over rows or batches would differ."""
    scores = measure_perplexity(place.folder / "model", place.folder / dataset, 4, PartialState(cpu=True))
    nats = nats_by_hand(place, dataset)
    assert scores["tokens"] == len(nats) > 30
    assert scores["nll_per_token"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)


def test_two_ranks_measure_the_same_digits_as_one(place):
    flags = ("--checkpoint", "model", "--dataset", "chats")
    scores = evaluate(place, "two", {"metrics": ["perplexity"], "batch_size": 3}, *flags, ranks=2)
    assert scores == measure_perplexity(place.folder / "model", place.folder / "chats", 3, PartialState(cpu=True))


def test_perplexity_of_preferences_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text('{"kind": "preference"}')
    with pytest.raises(HeirloomError, match="perplexity is measured on text or chat rows"):
        read_rows(tmp_path)


ROWS = [
    {"row_id": "t:1", "completion": "Gladly! It is 7.", "reference": "It is 7.", "finish_reason": "stop"},
    {"row_id": "t:2", "completion": "8.", "reference": "It is 7.", "finish_reason": "stop"},
    {"row_id": "t:3", "completion": "who knows", "reference": "It is 7.", "finish_reason": "length"},
    {"row_id": "t:4", "completion": " It is 7.\n", "reference": "It is 7.", "finish_reason": "stop"},
]
ROWS = [row | {"prompt_tokens": 10 + index, "completion_tokens": index} for index, row in enumerate(ROWS)]


def test_scores_of_answers():
    assert exact_match(ROWS, None) == {"exact_match": 0.25, "answer_found": 1.0}
    assert exact_match(ROWS, r"(\d+)\.") == {"exact_match": 0.5, "answer_found": 0.75}
    assert pattern_shares(ROWS, {"polite": "^Gladly!", "dot": r"\.$"}) == {"polite": 0.25, "dot": 0.75}
    assert token_counts(ROWS) == {
        "prompt": {"total": 46, "mean": 11.5, "largest": 13},
        "completion": {"total": 6, "mean": 1.5, "largest": 3},
        "finished": 0.75,
    }


def test_a_pattern_that_finds_no_reference_answer_is_an_error():
    with pytest.raises(HeirloomError, match=r"finds no answer in 4 of 4 references, first in t:1"):
        exact_match(ROWS, "answer: (.*)")


def test_without_perplexity_no_torch_is_imported(place):
    folder = place.folder / "answers"
    folder.mkdir()
    (folder / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    section = {"metrics": ["exact_match", "patterns", "token_counts"], "patterns": {"polite": "^Gladly!"}}
    config = place.config("lean", evaluation=section)
    command = [
        "--config",
        config,
        "--sections",
        "evaluation",
        "--generations",
        folder,
        "--metrics",
        place.folder / "lean.json",
    ]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPTS / "evaluate_model.py", *command],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "heirloom.answer_metrics" in imported
    assert not imported & {"torch", "transformers", "datasets", "accelerate", "numpy"}
    scores = json.loads((place.folder / "lean.json").read_text())
    assert (scores["answers"], scores["exact_match"], scores["patterns"]) == (4, 0.25, {"polite": 0.25})


@pytest.mark.parametrize(
    ("section", "flags", "message"),
    [
        ({"metrics": ["exact_match"]}, (), "need --generations"),
        (
            {"metrics": ["exact_match"]},
            ("--generations", "nowhere"),
            "there is no such file; make it with inference.py",
        ),
        ({"metrics": ["perplexity"]}, (), "perplexity needs --checkpoint and --dataset"),
        ({"metrics": ["exact_match"], "answer_pattern": "kite"}, (), "needs a group"),
    ],
)
def test_wrong_inputs_are_told_in_one_sentence(place, section, flags, message):
    done = evaluate(place, "wrong", section, *flags, check=False)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
