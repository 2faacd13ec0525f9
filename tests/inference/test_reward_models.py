"""A reward model's numbers against plain transformers, what is measured of it, and answers scored by it."""

import json
import math
import statistics

import pytest
import torch
from accelerate import PartialState
from test_evaluation import evaluate
from tiny_place import PAIRS, SENTENCES
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from heirloom.config.sections.generation import GenerationSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.perplexity import row_likelihoods
from heirloom.evaluation.likelihoods.preference import answer_likelihoods, read_pairs
from heirloom.evaluation.rewards.answer_rewards import answer_rewards, reward_scores
from heirloom.evaluation.rewards.pair_rewards import calibration_error, correlation, measure_reward_model
from heirloom.inference.engines import load_answerer
from heirloom.training.rewards.reward_models import reward_models

ONE = PartialState(cpu=True)


@pytest.fixture(scope="module")
def judge(place):
    """A reward model of the place's own model, with a head of large random weights."""
    folder = place.folder / "judge"
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(place.folder / "model", num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(folder)
    (folder / "heirloom.json").write_text(json.dumps({"answer_end": [0]}))
    return folder


@pytest.fixture(scope="module")
def by_hand(place, judge):
    """Reward and tokens of the chosen and the rejected answer of each pair, one text at a time, without padding."""
    model = AutoModelForSequenceClassification.from_pretrained(judge)
    found = []
    for _, *texts in read_pairs(place.folder / "pairs"):
        with torch.no_grad():
            rewards = [model(torch.tensor([ids])).logits.item() for ids, _ in texts]
        found.append((*rewards, *(sum(label >= 0 for label in labels) for _, labels in texts)))
    return found


def test_pairs_are_measured_by_its_own_numbers(place, judge, by_hand):
    scores = measure_reward_model(judge, place.folder / "pairs", 3, ONE).nested()["preference"]
    margins = [chosen - rejected for chosen, rejected, *_ in by_hand]
    assert scores["accuracy"] == sum(margin > 0 for margin in margins) / len(margins)
    assert scores["margin"] == pytest.approx(statistics.fmean(margins), rel=1e-5)
    rewards = [reward for row in by_hand for reward in row[:2]]
    lengths = [length for row in by_hand for length in row[2:]]
    assert scores["length_correlation"] == pytest.approx(statistics.correlation(lengths, rewards), rel=1e-4)
    assert 0 < scores["accuracy"] < 1 and len(set(lengths)) > 2


def test_calibration_is_how_far_it_is_right_as_often_as_it_says():
    """Two pairs at a margin of 1.5, of which one is told apart, and two at -4, of which none is."""
    found = calibration_error(["a", "b", "c", "d"], [1.5, -1.5, -4.0, -4.0]).value
    said = [1 / (1 + math.exp(-margin)) for margin in (1.5, 4.0)]
    assert found == pytest.approx((abs(1 - 2 * said[0]) + 2 * said[1]) / 4)
    assert calibration_error(["a", "b"], [50.0, 800.0]).value == pytest.approx(0.0, abs=1e-12)


def test_a_constant_length_correlates_with_nothing():
    assert correlation(["a", "a"], [3, 3], [0.1, 0.9]).value == 0.0
    assert correlation(["a", "a", "b", "b"], [1, 2, 3, 4], [9.0, 7.0, 5.0, 3.0]).value == pytest.approx(-1.0)


def test_an_answer_is_scored_as_the_pair_that_has_it(place, judge, by_hand):
    """Its text from generations.jsonl, closed as the answers of the pairs are."""
    rows = [
        {"row_id": f"{number}", "prompt": pair["prompt"], "completion": pair["chosen"]}
        for number, pair in enumerate(PAIRS)
    ]
    found = reward_scores(answer_rewards(judge, rows, 4, ONE)).statistics[("reward",)]
    expected = {f"{number}": (row[0], 1.0) for number, row in enumerate(by_hand)}
    assert found.sums.keys() == expected.keys()
    for row_id, (reward, _) in expected.items():
        assert found.sums[row_id][0] == pytest.approx(reward, rel=1e-4), row_id


def answer_rewards_of_the_end(judge, row, positions: int) -> list[float]:
    """Return the number of the last tokens of a text, by plain transformers."""
    tokenizer = AutoTokenizer.from_pretrained(judge)
    ids = [*tokenizer(row["prompt"] + row["completion"])["input_ids"], 0][-positions:]
    with torch.no_grad():
        return [AutoModelForSequenceClassification.from_pretrained(judge)(torch.tensor([ids])).logits.item()]


def test_as_a_reward_in_training_it_gives_the_same_numbers(place, judge, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    rows = [{"row_id": f"r{index}", "prompt": text, "completion": " A kite."} for index, text in enumerate(SENTENCES)]
    model = reward_models({"judge": judge}, 2)["judge"]
    assert model(rows) == pytest.approx(answer_rewards(judge, rows, 4, ONE).values, rel=1e-5)
    positions = model.config.max_position_embeddings
    assert model([]) == []
    far = rows[0] | {"prompt": rows[0]["prompt"] * positions}  # its beginning is lost
    assert model([far]) == pytest.approx(answer_rewards_of_the_end(judge, far, positions), rel=1e-5)
    model.check_room(9, positions - 10)
    with pytest.raises(HeirloomError, match=f"judge: has {positions} positions, and a prompt with its answer may have"):
        model.check_room(9, positions - 9)


def test_through_the_script_on_two_ranks_with_the_base_and_an_interval(place, judge):
    answers = [" A kite.", " A red boat, and gladly.", " Nothing."]
    for folder, shift in (("answers", 0), ("base-answers", 1)):
        rows = [
            {"row_id": f"r{index}", "prompt": text, "completion": answers[(index + shift) % 3], "reference": None}
            for index, text in enumerate(SENTENCES)
        ]
        (place.folder / folder).mkdir()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (place.folder / folder / "generations.jsonl").write_text(text)
    flags = ("--generations", "answers", "--base-generations", "base-answers", "--reward-model", "judge")
    of_base = ("--metric", "reward", "--reward-model", "judge", "--generations", "base-answers", "--batch_size", "3")
    place.run("score_base.py", *of_base, "--output", "base-rewards.json")
    flags += ("--base-scores", "base-rewards.json")
    section = {"metrics": ["reward"], "reward_model": "judge", "base": True, "batch_size": 3}
    scores = evaluate(place, "rewarded", section, *flags, ranks=2)
    assert evaluate(place, "rewarded", section, *flags) == scores
    assert scores["interval"]["reward"]["low"] < scores["reward"] < scores["interval"]["reward"]["high"]
    assert scores["change"]["reward"]["difference"] == scores["reward"] - scores["base"]["reward"]
    failed = place.run("score_base.py", *of_base[:2], "--output", "none.json", check=False)
    assert "error: --metric reward needs --reward-model, --generations: give what is missing" in failed.stderr
    own = evaluate(place, "own", {"metrics": ["preference"]}, "--checkpoint", "judge", "--preferences", "pairs")
    expected = measure_reward_model(judge, place.folder / "pairs", 8, ONE).nested()["preference"]
    assert own["preference"] == pytest.approx(expected, rel=1e-5)
    assert own["interval"].keys() >= {"preference.calibration_error", "preference.length_correlation"}


def test_neither_kind_of_model_is_taken_for_the_other(place, judge):
    is_one = "judge: is a reward model, which gives a text one number and writes nothing"
    with pytest.raises(HeirloomError, match=is_one):
        row_likelihoods(judge, place.folder / "text", 4, ONE)
    with pytest.raises(HeirloomError, match=is_one):
        answer_likelihoods(judge, place.folder / "pairs", 4, ONE)
    with pytest.raises(HeirloomError, match=is_one):
        load_answerer(judge, GenerationSection(), ONE)
    with pytest.raises(HeirloomError, match=r"model: is no reward model \(LlamaForCausalLM\): train one with trainer"):
        measure_reward_model(place.folder / "model", place.folder / "pairs", 4, ONE)
