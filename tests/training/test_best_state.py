"""The best state and early stopping: what is kept, when training ends; neither interruption nor saving matters."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_workplace import TRAINING, tree
from transformers import TrainerControl, TrainerState, TrainingArguments

from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.table import TRAINERS
from heirloom.errors import HeirloomError
from heirloom.training.callbacks.best_state import BestState
from heirloom.training.callbacks.loss_history import LossHistory
from heirloom.training.callbacks.resuming import COMPLETE, AlreadyTrainedError, is_complete

BASE = "runs/pretrain/checkpoint"
OFTEN = {"save_steps": 1}
SELDOM = {"save_steps": 100}
RUINOUS = {**TRAINING, "max_steps": 8, "learning_rate": 0.3, "lr_scheduler_type": "constant"}
"""Steps so large that what is measured soon gets worse, at a rate that does not depend on how many steps there are."""
BEST = {**RUINOUS, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
SETS = {
    "trainer": ("train.py", "text", {"training": {**BEST, "early_stopping_patience": 1}}),
    "seq2seq": (
        *("seq2seq_train.py", "chat"),
        {"training": {**BEST, "metric_for_best_model": "eval_perplexity", "early_stopping_patience": 2}},
    ),
    "sft": (
        *("sft_train.py", "chat"),
        {"peft": {"r": 4}, "training": {**BEST, "greater_is_better": True, "early_stopping_patience": 2}},
    ),
    "dpo": (
        *("dpo_train.py", "preference"),
        {"training": {**BEST, "metric_for_best_model": "logps/chosen", "early_stopping_patience": 1}},
    ),
    "orpo": ("orpo_train.py", "preference", {"training": BEST}),
}
"""Trainer → script, dataset and sections of a training that keeps its best state, and may end early."""
KEPT = {"trainer": 4, "seq2seq": 2, "sft": 2, "dpo": 2, "orpo": 8}
STEPS = {"trainer": 6, "seq2seq": 6, "sft": 6, "dpo": 4, "orpo": 8}
STOPS = {"trainer": (3, 5), "sft": (3,), "dpo": (3,)}
"""Trainer → the steps in which the machine breaks, of those that are interrupted."""
STOPPED = {**BEST, "load_best_model_at_end": False, "early_stopping_patience": 2}


def job(workplace, output, script, dataset, sections, zero="zero2", tracking=SELDOM, **more):
    command = workplace.training(script, output, zero=zero, dataset=dataset, base=BASE, tracking=tracking, **sections)
    return {"arguments": command[1:], **more}


def interrupted(workplace, output, *what, steps, **more):
    """Return jobs that are stopped after each of `steps`, where all is saved, and then one that goes on to the end."""
    place = {"tracking": OFTEN, **more}
    stops = [job(workplace, output, *what, **place, stop_at=step) for step in steps]
    return [*stops, job(workplace, output, *what, **place)]


@pytest.fixture(scope="module")
def made(workplace, runs):
    """All trainings of this file, in one torchrun: the folder that they are in, and what was printed."""
    jobs = []
    for name, what in SETS.items():
        jobs.append(job(workplace, f"best/{name}", *what))
        jobs += interrupted(workplace, f"again/{name}", *what, steps=STOPS[name]) if name in STOPS else []
    jobs.append(job(workplace, "zero3/trainer", *SETS["trainer"], zero="zero3"))
    jobs += interrupted(workplace, "again-zero3/trainer", *SETS["trainer"], steps=(5,), zero="zero3")
    for name in ("trainer", "sft"):
        script, dataset, sections = SETS[name]
        shorter = {**sections, "training": {**RUINOUS, "max_steps": KEPT[name]}}
        jobs.append(job(workplace, f"shorter/{name}", script, dataset, shorter))
    sft = ("sft_train.py", "chat")
    jobs.append(job(workplace, "stopped", *sft, {"training": STOPPED}))
    jobs.append(job(workplace, "as-many-steps", *sft, {"training": {**RUINOUS, "max_steps": 6}}))
    decaying = {**STOPPED, "lr_scheduler_type": "cosine"}
    jobs.append(job(workplace, "decaying", *sft, {"training": decaying}))
    jobs.append(job(workplace, "to-the-end", *sft, {"training": {**decaying, "early_stopping_patience": 9}}))
    jobs.append(job(workplace, "alone", "sft_train.py", "alone", {"training": BEST}))
    shutil.copytree(workplace.folder / "chat", workplace.folder / "alone")
    shutil.rmtree(workplace.folder / "alone" / "test")
    return workplace.folder, workplace.torchrun("many_trainings.py", jobs)


def rows(file):
    with file.open() as opened:
        return list(csv.DictReader(opened))


def test_the_best_measured_state_is_kept_and_training_ends_as_it_should(made):
    folder, said = made
    for name, step in KEPT.items():
        metrics = json.loads((folder / "best" / name / "metrics.json").read_text())
        assert (metrics["train"]["kept_step"], metrics["train"]["steps"]) == (step, STEPS[name]), name
        assert metrics["train"]["end"] == ("all_steps" if STEPS[name] == 8 else "early_stopping")
        measured = {row["step"]: row for row in rows(folder / "best" / name / "loss.csv")}
        assert float(measured[str(step)]["eval_loss"]) == metrics["after"]["loss"]
        assert [int(key) for key in measured] == list(range(STEPS[name] + 1))
        facts = json.loads((folder / "best" / name / "checkpoint" / "heirloom.json").read_text())
        assert (facts["kept_step"], facts["steps"]) == (step, STEPS[name])
        card = (folder / "best" / name / "checkpoint" / "README.md").read_text()
        assert f"; this is the model after step {step}." in card
    assert re.search(r"step 6/8  eval_loss was no better in 1 measurements \(\d+\.\d+ at step 4\): training ends", said)


def test_what_is_kept_is_the_model_of_that_step(made):
    """A training that is told to end there, at the same learning rate, has the same weights, adapter and all."""
    folder, _ = made
    for name, file in (("trainer", "model.safetensors"), ("sft", "adapter_model.safetensors")):
        kept, shorter = (load_file(folder / place / name / "checkpoint" / file) for place in ("best", "shorter"))
        assert kept.keys() == shorter.keys()
        assert all(torch.equal(kept[key], shorter[key]) for key in kept), name


def test_a_training_that_ends_early_is_one_of_as_many_steps(made):
    """To the byte where the schedule does not depend on max_steps; else the same steps as in the full length."""
    folder, _ = made
    early, told = (folder / name / "checkpoint" / "model.safetensors" for name in ("stopped", "as-many-steps"))
    assert early.read_bytes() == told.read_bytes()
    early, whole = (rows(folder / name / "loss.csv") for name in ("decaying", "to-the-end"))
    assert (len(early), len(whole)) == (7, 9) and early == whole[:7]
    assert len({row["learning_rate"] for row in whole[1:]}) == 8


@pytest.mark.parametrize("place", ["again", "again-zero3"])
def test_interruptions_change_no_byte(made, place):
    folder, said = made
    names = sorted(each.name for each in (folder / place).iterdir())
    assert names == (sorted(STOPS) if place == "again" else ["trainer"])
    for name in names:
        assert f"{place}-{name}.yaml: stopped" in said
        straight = folder / place.replace("again-", "").replace("again", "best") / name
        assert tree(folder / place / name) == tree(straight), name
        assert not list((folder / place / name).glob(".*.work"))


def test_a_trainer_measures_what_the_configuration_knows_of(made):
    folder, _ = made
    for name in SETS:
        header = rows(folder / "best" / name / "loss.csv")[0]
        measured = {key.removeprefix("eval_") for key in header if key.startswith("eval_")}
        assert measured == {metric.replace("/", "_") for metric in TRAINERS[name].held_out}, name


def test_nothing_is_chosen_without_held_out_rows(made):
    assert "alone.yaml: refused: alone: holds no test rows to choose the best state by: set processing" in made[1]


class Training:
    """Measurements of one training, one a step, as the callbacks hear of them."""

    def __init__(self, work, **keys):
        section = TrainingSection(global_batch_size=8, eval_strategy="steps", **keys)
        self.best, self.kept = BestState(section, LossHistory()), []
        self.best.keep = self.kept.append
        self.args = TrainingArguments(output_dir=str(work), report_to="none", use_cpu=True)
        self.state, self.control = TrainerState(max_steps=100), TrainerControl()

    def measure(self, *values, name="eval_loss"):
        for value in values:
            self.state.global_step += 1
            self.best.history.row_of(self.state.global_step)[name] = value
            self.best.on_evaluate(self.args, self.state, self.control)

    def save(self):
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True)
        self.best.on_save(self.args, self.state, self.control)
        return folder


@pytest.mark.parametrize(
    ("keys", "values", "best", "stopped"),
    [
        ({}, (3.0, 2.0, 2.5, 2.0), 2, False),  # an equal one later is no better
        ({"early_stopping_patience": 2}, (3.0, 2.0, 2.5, 2.0), 2, True),
        ({"early_stopping_patience": 3}, (3.0, 2.0, 2.5, 2.0), 2, False),
        # better by too little: it is the best state all the same, as transformers has it
        ({"early_stopping_patience": 2, "early_stopping_threshold": 0.5}, (3.0, 2.9, 2.8), 3, True),
        ({"early_stopping_patience": 1, "greater_is_better": True}, (3.0, 3.5, 3.4), 2, True),
    ],
)
def test_patience_threshold_and_direction(tmp_path, keys, values, best, stopped):
    training = Training(tmp_path, load_best_model_at_end=True, **keys)
    training.measure(*values)
    assert training.kept[-1].name == f"best-{best}" and training.best.stopped is stopped
    assert training.control.should_training_stop is stopped and training.control.should_save is stopped


def test_a_metric_whose_name_ends_with_loss_or_perplexity_is_to_be_small(tmp_path):
    for name, more in (("eval_perplexity", False), ("nll_loss", False), ("rewards/margins", True)):
        section = Training(tmp_path, load_best_model_at_end=True, metric_for_best_model=name).best.training
        assert section.more_is_better is more


def test_a_stop_that_a_checkpoint_knows_of_is_not_trained_on_from(tmp_path):
    """The machine is lost between the last checkpoint and the end; patience and best go on from a checkpoint too."""
    first = Training(tmp_path, load_best_model_at_end=True, early_stopping_patience=2)
    first.measure(2.0, 3.0)
    between = first.save()
    first.measure(4.0)
    last = first.save()
    second = Training(tmp_path, load_best_model_at_end=True, early_stopping_patience=2)
    second.best.load(between)
    second.state.global_step = 2
    second.best.on_epoch_begin(second.args, second.state, second.control)
    second.measure(4.0)
    assert second.best.stopped and second.kept == []
    second.best.load(last)
    with pytest.raises(AlreadyTrainedError):
        second.best.on_epoch_begin(second.args, second.state, second.control)


def test_a_best_state_stays_while_a_checkpoint_names_it(tmp_path):
    training = Training(tmp_path, load_best_model_at_end=True)
    for value in (3.0, 2.0, 1.0):
        training.measure(value)
        (training.kept[-1] / "state.pt").write_bytes(bytes(training.state.global_step))
        checkpoint = training.save()
        if value == 2.0:
            shutil.rmtree(tmp_path / "checkpoint-1")
        training.best.delete_others(tmp_path)
    assert sorted(folder.name for folder in tmp_path.glob("best-*")) == ["best-2", "best-3"]
    assert training.best.files(tmp_path) == {"../best-3/state.pt": 3}
    (checkpoint / COMPLETE).write_text(json.dumps({"files": training.best.files(tmp_path)}))
    assert is_complete(checkpoint)
    shutil.rmtree(tmp_path / "best-3")
    assert not is_complete(checkpoint)


def test_a_host_that_was_brought_a_best_state_keeps_it_as_long_as_the_first_host_does(tmp_path, monkeypatch):
    """What one host deletes it deletes on S3 too, so each has to know what the checkpoints of all name."""
    first = Training(tmp_path, load_best_model_at_end=True)
    first.measure(3.0)
    brought = first.save()
    monkeypatch.setenv("RANK", "1")  # the first rank of the second host
    second = Training(tmp_path, load_best_model_at_end=True)
    second.best.load(brought)
    second.state.global_step = 1
    second.measure(4.0)
    second.save()
    second.measure(2.0)
    shutil.rmtree(brought)
    second.best.delete_others(tmp_path)
    assert [folder.name for folder in tmp_path.glob("best-*")] == ["best-1"]  # checkpoint-2 names it
    second.save()
    shutil.rmtree(tmp_path / "checkpoint-2")
    second.best.delete_others(tmp_path)
    assert not list(tmp_path.glob("best-*"))  # the new one is the first host's


def test_a_value_that_is_no_number_ends_the_training(tmp_path):
    training = Training(tmp_path, load_best_model_at_end=True, metric_for_best_model="accuracy")
    with pytest.raises(HeirloomError, match="accuracy of step 1 is no number; measured were loss"):
        training.measure(1.0)
