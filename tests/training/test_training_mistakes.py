"""Mistakes are told in one sentence that names the remedy, before anything is trained or in time to stop."""

import json
import shutil

import pytest
from training_workplace import TRAINING, training_command, write_dataset
from trl import SFTConfig

from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.sft import SFT
from heirloom.config.trainers.table import TRAINERS
from heirloom.data.processed_dataset import COLUMNS
from heirloom.errors import HeirloomError
from heirloom.training.batches.collators import CausalCollator
from heirloom.training.callbacks.resuming import COMPLETE
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import USUAL_TRAINER, TrainingData, load_training_data
from heirloom.training.training_arguments import accumulation_steps, trainer_arguments


def section(**keys) -> TrainingSection:
    return TrainingSection.model_validate({**TRAINING, **keys})


def command(tmp_path, **keys) -> TrainingCommand:
    return TrainingCommand(
        trainer=SFT,
        dataset=tmp_path,
        base=tmp_path,
        deepspeed=None,
        output=tmp_path / "out",
        metrics=None,
        loss=None,
        training=section(**keys),
        peft=None,
        quantization=None,
        tracking=TrackingSection(),
        resources=ResourcesSection(),
    )


NO_ROWS = TrainingData("chat", 64, train=None, test=None)


def test_accumulation_follows_from_the_global_batch():
    assert accumulation_steps(section(global_batch_size=64, per_device_train_batch_size=8), ranks=2) == 4
    with pytest.raises(HeirloomError, match="must be a multiple of 16, for example 64;"):
        accumulation_steps(section(global_batch_size=60, per_device_train_batch_size=8), ranks=2)
    with pytest.raises(HeirloomError, match="must be a multiple of 16, for example 16;"):
        accumulation_steps(section(global_batch_size=8, per_device_train_batch_size=8), ranks=2)


def test_defaults_of_trl_that_surprise_are_set_openly(tmp_path):
    args = trainer_arguments(SFTConfig, command(tmp_path), NO_ROWS)
    assert (args.bf16, args.fp16, args.gradient_checkpointing, args.seed) == (False, False, False, 42)
    asked = trainer_arguments(SFTConfig, command(tmp_path, bf16=True, gradient_checkpointing=True), NO_ROWS)
    assert asked.bf16 and asked.gradient_checkpointing


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"fp16": True}, "training.fp16 needs a GPU"),
        ({"learning_rat": 1.0}, "learning_rat"),
        ({"output_dir": "x"}, "training: output_dir cannot be set there"),
        ({"lr_scheduler_type": "cosin"}, "cosin"),
    ],
)
def test_arguments_that_cannot_be(tmp_path, keys, said):
    with pytest.raises(HeirloomError, match=said):
        trainer_arguments(SFTConfig, command(tmp_path, **keys), NO_ROWS)


def test_the_wrong_trainer_names_the_right_one(workplace):
    with pytest.raises(HeirloomError, match=r"kind preference, .* train on it with trainer: dpo, or"):
        load_training_data(workplace.folder / "preference", kinds=("chat",))


def test_what_is_recommended_for_a_kind_of_rows_takes_them():
    assert USUAL_TRAINER.keys() == COLUMNS.keys()
    assert all(kind in TRAINERS[name].row_kinds for kind, name in USUAL_TRAINER.items())


def test_labels_of_padded_text_reach_the_trainer(tmp_path):
    """Without them the padding would be trained on."""
    rows = [{"input_ids": [7, 8, 0, 0], "labels": [7, 8, -100, -100], "attention_mask": [1, 1, 0, 0]}]
    write_dataset(tmp_path, "text", rows, rows)
    data = load_training_data(tmp_path, kinds=("text",))
    assert data.train.column_names == data.test.column_names == ["input_ids", "labels", "attention_mask"]
    assert CausalCollator(0)([data.train[0]])["labels"].tolist() == [[7, 8, -100, -100]]


def test_an_empty_dataset(workplace, tmp_path):
    shutil.copytree(workplace.folder / "chat" / "test", tmp_path / "data" / "test")
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"kind": "chat", "max_length": 64}))
    with pytest.raises(HeirloomError, match="train split is empty"):
        load_training_data(tmp_path / "data", kinds=("chat",))
    with pytest.raises(HeirloomError, match="is no processed dataset"):
        load_training_data(tmp_path, kinds=("chat",))


def test_a_loss_that_is_no_number_stops_the_training(workplace):
    arguments = workplace.training(
        *("train.py", "diverged"),
        dataset="text",
        base="model",
        training={**TRAINING, "learning_rate": 1e38, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"},
        tracking={"save_steps": 1},
    )
    done = workplace.launch(*arguments, check=False)
    last = done.stdout.rstrip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("train-checkpoint failed: the loss became nan at step ") and "learning_rate" in last
    step = int(last.partition(" at step ")[2].partition(" ")[0])
    assert [file.name for file in (workplace.folder / "diverged").iterdir()] == [".checkpoint.work"]
    assert (workplace.folder / "diverged" / ".checkpoint.work" / f"checkpoint-{step - 1}" / COMPLETE).is_file()


def test_a_section_without_effect_is_refused(workplace):
    arguments = training_command(workplace, "pretrain", "refused", {})
    arguments[arguments.index("training")] = "training,evaluation"
    done = workplace.launch(*arguments, check=False)
    assert done.returncode == 1 and "this trainer has no use for evaluation" in done.stdout.splitlines()[-1]
