"""What trackers and people are told of a training: the same run after an interruption, its origins, no key."""

import csv
import json
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from test_resuming import processes_in, wait_for
from training_workplace import TRAINING, training_command, tree

from heirloom import rank
from heirloom.config.sections.tracking import TrackingSection
from heirloom.content_hashes import content_hash
from heirloom.errors import HeirloomError
from heirloom.launcher.commit import current_commit
from heirloom.training.callbacks.resuming import COMPLETE, claim_work_folder, work_folder
from heirloom.training.callbacks.throughput import Throughput
from heirloom.training.callbacks.trackers import (
    AveragedLogs,
    WandbRun,
    check_trackers,
    has_wandb_key,
    run_id,
    show_completions,
)

IDENTITY = "0123456789abcdef" * 4
KEY = "5ec7e7" * 6 + "5ec7"
"""40 hex digits, as a key for Weights & Biases has."""
TRACKED = {"report_to": ["wandb", "tensorboard"], "logging_steps": 2, "save_steps": 2, "project": "tests"}
BLOCK, HEADER = 32768, 7
"""Sizes in bytes of LevelDB's log format, in which Weights & Biases writes."""


def wandb_records(file: Path) -> list:
    """Return the records of an offline run; a file that was cut short gives those before the cut."""
    rank.allow("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    content, records, parts, at = file.read_bytes(), [], [], HEADER
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if kind not in (1, 2, 3, 4) or at + HEADER + length > len(content):
            break
        parts.append(content[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(b"".join(parts)))
            parts = []
    return records


@pytest.fixture(scope="module")
def tracked(workplace):
    """A training that was killed and started again: first without a key, beside a server that nobody should ask; then
    offline with a key in the environment. Returns (folder of the workplace, whether the server was asked)."""
    command = training_command(workplace, "sft", "tracked", TRACKED)
    command[command.index("runs/pretrain/checkpoint")] = "model"
    variables = {"HEIRLOOM_IDENTITY": IDENTITY, "HEIRLOOM_COMMIT": "c0ffee-dirty"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = threading.Event()
        threading.Thread(target=lambda: (server.accept(), asked.set()), daemon=True).start()
        variables["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        variables |= {"HOME": str(workplace.folder), "NETRC": "/nowhere"}
        launcher = workplace.start(*command, **variables)
        work = workplace.folder / "tracked" / ".checkpoint.work"
        wait_for(lambda: (work / "checkpoint-6" / COMPLETE).is_file())
        launcher.kill()
        launcher.wait()
        wait_for(lambda: not processes_in(workplace.folder), seconds=30)
        said = workplace.launch(*command, WANDB_API_KEY=KEY, WANDB_MODE="offline", **variables).stdout
        assert "resuming from checkpoint-" in said
    return workplace.folder, asked.is_set()


def test_wandb_goes_on_in_the_run_of_the_stages_identity(tracked):
    folder, asked = tracked
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert not asked
    assert [file.name for file in files] == [f"run-{IDENTITY}.wandb"] * 2
    records = wandb_records(files[1])  # of the killed one, what fits into a block was still in memory
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.run_id, run.run_group, run.display_name, run.project) == (IDENTITY, "model", "checkpoint", "tests")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}["heirloom"]
    assert config["training"] == TRAINING and config["tracking"]["logging_steps"] == 2
    assert config["commit"] == "c0ffee-dirty" and config["identity"] == IDENTITY and config["deepspeed"] == "zero2"
    assert config["base"] == [{"name": "model", "weights": content_hash((folder / "model").glob("*.safetensors"))}]
    rows = content_hash((folder / "chat" / "train").glob("*.arrow"))
    assert config["dataset"]["name"] == "chat" and config["dataset"]["splits"]["train"]["sha256"] == rows
    history = [{item.nested_key[0]: json.loads(item.value_json) for item in r.history.item} for r in records]
    steps = [values["train/global_step"] for values in history if "train/loss" in values]
    assert steps == [step for step in (8, 10, 12) if step >= min(steps)]  # logged at every second step since step 6


def test_speed_and_memory_have_one_name_in_trackers_and_in_what_the_launcher_keeps(tracked):
    """The file goes on over the kill: a row a step, and seconds that grow. W&B is told at every second step."""
    folder, _ = tracked
    with (folder / ".heirloom" / "throughput" / "sft_train-checkpoint.csv").open() as opened:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(opened)]
    assert [row["step"] for row in rows] == list(range(1, 13))
    for name in ("seconds", "tokens", "peak_memory_gib"):
        values = [row[name] for row in rows[8:]]  # of one process: memory starts anew with another one
        assert values == sorted(values) and values[0] > 0, name
    assert rows[11]["tokens_per_second"] == pytest.approx(
        (rows[11]["tokens"] - rows[10]["tokens"]) / (rows[11]["seconds"] - rows[10]["seconds"]), rel=0.05
    )
    (file,) = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))[1:]
    told = [{item.nested_key[0]: json.loads(item.value_json) for item in r.history.item} for r in wandb_records(file)]
    last = next(values for values in told if values.get("train/global_step") == 12 and "train/loss" in values)
    assert last["train/peak_memory_gib"] == pytest.approx(rows[11]["peak_memory_gib"], rel=0.01)
    since = rows[11]["seconds"] - rows[9]["seconds"]
    assert last["train/tokens_per_second"] == pytest.approx((rows[11]["tokens"] - rows[9]["tokens"]) / since, rel=0.05)
    loss = (folder / "tracked" / "loss.csv").read_text().splitlines()[0]
    assert "tokens_per_second" not in loss and "memory" not in loss


def test_a_key_is_written_nowhere(tracked):
    holding = [file for file, content in tree(tracked[0]).items() if KEY.encode() in content]
    assert holding == []


def test_tensorboard_goes_on_too_and_keeps_its_files(tracked):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    folder = tracked[0] / "logs" / "tensorboard" / "checkpoint" / IDENTITY[:16]
    before, after = sorted(folder.iterdir())
    logged = [
        {(value.tag, event.step) for event in EventFileLoader(str(file)).Load() for value in event.summary.value}
        for file in (before, after)
    ]
    assert {("train/tokens_per_second", 12), ("train/peak_memory_gib", 12)} <= logged[1]
    assert ("train/loss", 2) in logged[0] and ("train/loss", 12) in logged[1] and ("train/loss", 6) not in logged[1]
    assert not (tracked[0] / "tracked" / ".checkpoint.work").exists()


def test_a_wandb_key_is_found_in_the_environment_or_netrc(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_wandb_key()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_wandb_key()
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert has_wandb_key()


def test_by_hand_a_run_is_known_by_what_tells_trainings_apart(tmp_path, monkeypatch):
    monkeypatch.delenv("HEIRLOOM_IDENTITY", raising=False)
    monkeypatch.delenv("HEIRLOOM_WORK_DIR", raising=False)
    output = tmp_path / "checkpoint"
    claim_work_folder(work_folder(output), {"learning_rate": 1.0})
    first = run_id(output)
    claim_work_folder(work_folder(output), {"learning_rate": 1.0})
    assert run_id(output) == first and re.fullmatch("[0-9a-f]{16}", first)
    claim_work_folder(work_folder(output), {"learning_rate": 2.0})
    assert run_id(output) != first


def test_a_tracker_that_is_not_installed_is_told_with_the_remedy():
    check_trackers(TrackingSection(report_to=["none", "wandb"]))
    with pytest.raises(HeirloomError, match="package trackio is not installed .* run `make lock setup`, or choose"):
        check_trackers(TrackingSection(report_to=["wandb", "trackio"]))


def test_a_commit_is_dirty_when_something_but_the_ledger_differs(tmp_path, monkeypatch):
    monkeypatch.delenv("HEIRLOOM_COMMIT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert current_commit() is None
    (tmp_path / "dvc.lock").touch()
    settings = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init", "-q"], ["add", "."], [*settings, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], check=True)
    (tmp_path / "dvc.lock").write_text("a stage has run")
    for place in ("scripts", "project"):
        (tmp_path / place).mkdir()
    (tmp_path / "project" / "dvc.lock").write_text("so has one of a project below")
    monkeypatch.chdir(tmp_path / "scripts")
    clean = current_commit()
    assert len(clean) == 40
    (tmp_path / "scripts" / "new.py").touch()
    assert current_commit() == f"{clean}-dirty"
    monkeypatch.setenv("HEIRLOOM_COMMIT", "sent along")
    assert current_commit() == "sent along"


def test_wandb_is_shown_answers_as_a_table_and_its_disk_stops_no_training(tmp_path, capsys):
    rank.allow("wandb")
    import wandb
    from wandb.sdk.data_types import _private

    callbacks = [AveragedLogs(WandbRun(None, dict), 1, Throughput())]
    row = {"prompt": "Who?", "completion": "<b>Ada</b>", "rewards": {"polite": 1.0}, "reward": 2.0, "advantage": 0.5}
    with wandb.init(mode="offline", dir=tmp_path, settings={"silent": True}):
        show_completions(callbacks, 5, [row])
        shutil.rmtree(_private.MEDIA_TMP.name)
        show_completions(callbacks, 6, [row])
    Path(_private.MEDIA_TMP.name).mkdir()  # for whoever comes after
    assert "step 6  WandbRun was not shown the answers: [Errno 2]" in capsys.readouterr().out
    (file,) = tmp_path.glob("wandb/offline-run-*/files/media/table/completions_*.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["prompt", "completion", "polite", "reward", "advantage"]
    assert table["data"] == [["Who?", "<b>Ada</b>", 1.0, 2.0, 0.5]]
