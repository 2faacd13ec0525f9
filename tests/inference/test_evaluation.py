"""Scores of checkpoints against computations by hand and by TRL, and all scores through the script."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from accelerate import PartialState
from datasets import Dataset
from tiny_place import PAIRS, SCRIPTS, environment, write_dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM

from heirloom.data.processed_dataset import load_split
from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.perplexity import perplexity_scores, read_rows, row_likelihoods
from heirloom.evaluation.likelihoods.preference import answer_likelihoods, preference_scores, read_pairs
from heirloom.evaluation.model_scores import ModelScores, read_model_scores, write_model_scores
from heirloom.models import token_losses

SCORE = "score_base.py"


def evaluate(place, name: str, section: dict, *flags: str, ranks: int = 1, check: bool = True):
    """Run the script in the place's folder; return the scores, or the finished process when it failed."""
    config = place.config(name, evaluation=section)
    file = place.folder / f"{name}.json"
    command = ("--config", config, "--sections", "evaluation", *flags, "--metrics", file)
    done = place.run("evaluate_model.py", *command, ranks=ranks, check=check)
    return json.loads(file.read_text()) if done.returncode == 0 else done


# ---- checkpoints ----


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


@pytest.mark.parametrize("at_once", [token_losses.MOST_TOKENS, 10])
@pytest.mark.parametrize("dataset", ["text", "chats"])
def test_perplexity_is_that_computed_by_hand(place, monkeypatch, dataset, at_once):
    """Rows differ in length, so that a mean over rows or batches would differ."""
    monkeypatch.setattr(token_losses, "MOST_TOKENS", at_once)
    found = row_likelihoods(place.folder / "model", place.folder / dataset, 4, PartialState(cpu=True))
    measured = perplexity_scores(found)
    scores, nats = measured.nested(), nats_by_hand(place, dataset)
    assert scores["tokens"] == len(nats) > 30
    assert scores["nll_per_token"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)


@pytest.fixture(scope="module")
def rewards_of_trl(place) -> dict[str, float]:
    """What TRL's own DPOTrainer logs for the texts of the pairs, which it tokenizes itself."""
    from trl import DPOConfig, DPOTrainer

    arguments = DPOConfig(
        output_dir=str(place.folder / "trl"), use_cpu=True, bf16=False, report_to="none",
        beta=0.3, per_device_eval_batch_size=len(PAIRS),
    )  # fmt: skip
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(place.folder / "model"),
        ref_model=AutoModelForCausalLM.from_pretrained(place.folder / "base"),
        args=arguments,
        train_dataset=Dataset.from_list(PAIRS),
        eval_dataset=Dataset.from_list(PAIRS),
        processing_class=AutoTokenizer.from_pretrained(place.folder / "model"),
    )
    return trainer.evaluate()


def preferred(place, model: str) -> ModelScores:
    """Return what a model gives to both answers of each pair."""
    return answer_likelihoods(place.folder / model, place.folder / "pairs", 3, PartialState(cpu=True))


def test_preference_is_that_of_trls_dpo_trainer(place, rewards_of_trl):
    """Small batches of other lengths than TRL's one, and the same rewards."""
    model, base = preferred(place, "model"), preferred(place, "base")
    scores = preference_scores(model, base, 0.3).nested()["preference"]
    assert scores["accuracy"] == pytest.approx(rewards_of_trl["eval_rewards/accuracies"])
    assert scores["margin"] == pytest.approx(rewards_of_trl["eval_rewards/margins"], rel=1e-4)
    assert 0 < scores["accuracy"] < 1 and abs(scores["margin"]) > 0.1


def test_without_a_base_preference_is_of_the_log_probabilities_alone(place):
    """As on a run that trains nothing: -log p by hand, text by text."""
    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    margins = []
    for _, *sequences in read_pairs(place.folder / "pairs"):
        sums = []
        for ids, labels in sequences:
            with torch.no_grad():
                logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            sums.append(sum(logps[t - 1, ids[t]].item() for t in range(1, len(ids)) if labels[t] != -100))
        margins.append(sums[0] - sums[1])
    scores = preference_scores(preferred(place, "model"), None, 0.1).nested()["preference"]
    assert scores["margin"] == pytest.approx(sum(margins) / len(margins), rel=1e-4)
    assert scores["accuracy"] == sum(margin > 0 for margin in margins) / len(margins)


def test_two_ranks_measure_the_same_digits_as_one_for_run_and_base(place):
    of_base = ("--checkpoint", "base", "--batch_size", "3", "--dataset")
    place.run(SCORE, "--metric", "perplexity", *of_base, "chats", "--output", "base-chats.json", ranks=2)
    place.run(SCORE, "--metric", "preference", *of_base, "pairs", "--output", "base-pairs.json")
    flags = ("--checkpoint", "model", "--dataset", "chats", "--preferences", "pairs")
    section = {"metrics": ["perplexity", "preference"], "batch_size": 3, "base": True, "beta": 0.3}
    compared = ("--base-scores", "base-chats.json", "base-pairs.json")
    scores = evaluate(place, "two", section, *flags, *compared, ranks=2)
    one = PartialState(cpu=True)
    of_chats = row_likelihoods(place.folder / "base", place.folder / "chats", 3, one)
    base = perplexity_scores(of_chats).nested()
    model = place.folder / "model"
    run = perplexity_scores(row_likelihoods(model, place.folder / "chats", 3, one))
    run.update(preference_scores(preferred(place, "model"), preferred(place, "base"), 0.3))
    assert {name: scores[name] for name in run.nested()} == run.nested()
    assert scores["base"] == base
    assert scores["interval"].keys() == {"perplexity", "nll_per_token", "preference.accuracy", "preference.margin"}
    change = scores["change"]["perplexity"]
    assert change["difference"] == scores["perplexity"] - base["perplexity"]
    assert change["low"] <= change["difference"] <= change["high"]

    # a run that trains nothing is its base, and reads the same files in place of the model
    section = {"metrics": ["perplexity", "preference"], "batch_size": 3}
    itself = evaluate(place, "itself", section, "--scores", "base-chats.json", "base-pairs.json")
    of_pairs = preference_scores(preferred(place, "base"), None, 0.3).nested()
    assert {name: itself[name] for name in (*base, "preference")} == base | of_pairs

    other = place.folder / "other-rows.json"
    write_model_scores(other, "perplexity", replace(of_chats, rows="others"))
    section = {"metrics": ["perplexity"], "base": True}
    failed = evaluate(place, "others", section, *flags, "--base-scores", other.name, check=False)
    assert "the base's scores are of other rows than those the checkpoint is scored on: make them" in failed.stderr
    failed = evaluate(place, "without", section, *flags, check=False)
    assert "`evaluation:` needs --base-scores with perplexity (scripts/score_base.py): give what" in failed.stderr


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"metric": "rouge", "rows": "", "prompts": [], "values": []},
        {"metric": "perplexity", "rows": "", "prompts": ["0"], "values": []},
        {"metric": "perplexity", "rows": "", "prompts": ["0"], "values": [1.0]},
        {"metric": "perplexity", "rows": "", "prompts": ["0"], "values": [[1.0, "2"]]},
        {"metric": "reward", "rows": "", "prompts": ["0"], "values": [True]},
        {"metric": ["perplexity"], "rows": "", "prompts": ["0"], "values": [[1.0, 2]]},
        {"metric": "perplexity", "rows": "", "prompts": [], "values": []},
        {"metric": "reward", "rows": "", "prompts": ["0"], "values": [math.nan]},
    ],
)
def test_files_that_hold_no_scores_of_a_model_are_told(tmp_path, content):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(HeirloomError, match="x.json: does not hold what a model gave to rows: make them again by"):
        read_model_scores([tmp_path / "x.json"])


def test_kinds_that_do_not_fit_and_missing_rows_are_refused(place, tmp_path):
    (tmp_path / "dataset.json").write_text('{"kind": "preference"}')
    with pytest.raises(HeirloomError, match="perplexity is measured on text or chat rows"):
        read_rows(tmp_path)
    with pytest.raises(HeirloomError, match="holds no test rows to measure on"):
        read_pairs(tmp_path)
    with pytest.raises(HeirloomError, match="preference is measured on pairs, and these rows are of kind chat"):
        read_pairs(place.folder / "chats")
    write_dataset(tmp_path / "masked", "chat", {"input_ids": "ids", "labels": "ids"}, [])
    with pytest.raises(HeirloomError, match="holds no test rows to measure on"):
        read_rows(tmp_path / "masked")


def test_models_that_do_not_predict_the_next_token_are_refused(place, tmp_path):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=280, **small)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(tmp_path)
    with pytest.raises(HeirloomError, match="of models that predict the next token, and this is a bert"):
        row_likelihoods(tmp_path, place.folder / "text", 4, PartialState(cpu=True))


def test_a_checkpoint_that_has_diverged_is_told(place, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    model.model.norm.weight.data.fill_(math.nan)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(tmp_path)
    with pytest.raises(HeirloomError, match="gives log-probabilities that are no numbers: its training has diverged"):
        row_likelihoods(tmp_path, place.folder / "text", 4, PartialState(cpu=True))


def test_a_perplexity_beyond_all_numbers_is_told(place, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    model.lm_head.weight.data.mul_(1e5)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(tmp_path)
    with pytest.raises(HeirloomError, match="nats a token, whose exponential is no number: its training has diverged"):
        perplexity_scores(row_likelihoods(tmp_path, place.folder / "text", 4, PartialState(cpu=True)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_position_embeddings": 8}, "has 8 positions, and the longest held-out row has"),
        ({"vocab_size": 20}, "knows 20 tokens, and the held-out rows have the token id"),
    ],
)
def test_rows_that_a_model_cannot_read_are_told(place, tmp_path, change, message):
    config = AutoConfig.from_pretrained(place.folder / "model", **change)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(tmp_path)
    for measure in (
        lambda: row_likelihoods(tmp_path, place.folder / "text", 4, PartialState(cpu=True)),
        lambda: answer_likelihoods(tmp_path, place.folder / "pairs", 4, PartialState(cpu=True)),
    ):
        with pytest.raises(HeirloomError, match=message):
            measure()


# ---- answers ----

REFERENCES = ["It is 7.", "It is 8.", "It is 9."]


def write_answers(place, name: str, *answers: list[str], prompt: str = "?") -> str:
    """Write generations: for each prompt its samples. Return the folder's name."""
    folder = place.folder / name
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "row_id": f"t:{number}", "sample": sample, "prompt": prompt, "completion": text,
            "reference": REFERENCES[number], "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 2,
        }
        for number, texts in enumerate(answers)
        for sample, text in enumerate(texts)
    ]  # fmt: skip
    (folder / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def test_answers_are_scored_beside_the_bases_and_another_runs_without_torch(place):
    """Two samples a prompt. No library is imported that no metric of the run needs."""
    answers = write_answers(place, "own", ["It is 7.", "It is 7."], ["Gladly! It is 8.", "no"], ["no", "no"])
    base = write_answers(place, "of-base", ["no", "It is 7."], ["no", "no"], ["no", "no"])
    other = write_answers(place, "of-other", ["It is 7.", "It is 7."], ["no", "no"], ["It is 9.", "no"])
    (place.folder / "own_scores_of_a_run.py").write_text(
        "def politeness(rows):\n    return [row['completion'].startswith('Gladly') for row in rows]\n"
    )
    own = "own_scores_of_a_run:politeness"
    section = {
        "metrics": ["exact_match", "patterns", "token_counts", "repetition", own],
        "answer_pattern": r"(\d+)\.",
        "patterns": {"polite": "^Gladly!"},
        "base": True,
        "against": ["other"],
        "win_by": "exact_match",
    }
    config, file = place.config("lean", evaluation=section), place.folder / "lean.json"
    flags = ["--generations", answers, "--base-generations", base, "--against", f"other={other}"]
    command = ["--config", config, "--sections", "evaluation", *flags, "--metrics", file]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPTS / "evaluate_model.py", *command],
        cwd=place.folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "heirloom.evaluation.answer_metrics" in imported
    assert not imported & {"torch", "transformers", "datasets", "accelerate", "numpy", "sacrebleu", "rouge_score"}
    scores = json.loads(file.read_text())
    assert (scores["answers"], scores["exact_match"], scores[own]) == (6, 0.5, 1 / 6)
    assert scores["base"]["exact_match"] == 1 / 6
    assert {"exact_match", "answer_found", "patterns.polite", "repetition.loops", own} <= scores["interval"].keys()
    assert scores["interval"].keys() == scores["change"].keys()
    change = scores["change"]["exact_match"]
    assert change["difference"] == pytest.approx(1 / 3)
    assert (change["low"], change["high"]) == (0.0, 0.5)  # a prompt gains 1/2, 1/2 or nothing
    counts = {name: scores["against"]["other"][name] for name in ("wins", "ties", "losses", "win_rate")}
    assert counts == {"wins": 1, "ties": 1, "losses": 1, "win_rate": 0.5}


@pytest.mark.parametrize(
    ("section", "flags", "message"),
    [
        ({"metrics": ["exact_match"]}, (), "`evaluation:` needs --generations: give what is missing"),
        (
            {"metrics": ["exact_match", "perplexity", "preference"], "base": True, "against": ["x"], "win_by": "rouge"},
            ("--checkpoint", "model"),
            "needs --generations, --base-generations, --dataset, --preferences, --base-scores with perplexity",
        ),
        (
            {"metrics": ["exact_match"]},
            ("--generations", "nowhere"),
            "there is no such file; make it with inference.py",
        ),
        ({"metrics": ["exact_match"]}, ("--generations", "x", "--against", "x"), "expected RUN=FOLDER"),
        ({"metrics": ["exact_match"], "answer_pattern": "kite"}, (), "needs a group"),
        ({"metrics": ["exact_mach"]}, (), "there is no metric exact_mach here; did you mean exact_match?"),
    ],
)
def test_wrong_inputs_are_told_in_one_sentence(place, section, flags, message):
    done = evaluate(place, "wrong", section, *flags, check=False)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_base_that_answered_other_prompts_is_not_compared(place):
    own = write_answers(place, "own-maths", ["It is 7."])
    poems = write_answers(place, "poems", ["no"], prompt="Write a poem.")
    section = {"metrics": ["exact_match"], "base": True}
    done = evaluate(place, "other-prompts", section, "--generations", own, "--base-generations", poems, check=False)
    assert "--base-generations poems: the base answered another prompt under the name t:0: let both" in done.stderr
