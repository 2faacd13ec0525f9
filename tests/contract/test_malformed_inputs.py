"""Every malformed input is one sentence with its place, or does no harm. HEIRLOOM_ALL_CASES=1 tries all of them."""

import io
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from clone import Clone
from malformed_inputs import Case, cases, cut, damaged_listings, odd_files

from heirloom.errors import HeirloomError
from pipeline.ledger import open_ledger
from pipeline.plan import print_plan
from pipeline.upkeep import verify

SEED = 7
SAMPLE = 60
PATIENCE = 60
"""Seconds for one case; planning takes less than one."""
REWRITTEN = ("dvc.lock", ".dvc/history.jsonl", ".heirloom/markers/checkpoints/sft", ".heirloom/cache/lock.json",
             ".heirloom/records/train-sft.json")  # fmt: skip


NOT_READ = (".git", ".snakemake", "logs", "workflow", "rules", "envs")
"""Parts of a clone that planning does not look at."""


def chosen() -> list[Case]:
    chance = random.Random(SEED)
    cuts = [Case(f"{file}: cut, {n}", cut(file, chance), "heal") for file in REWRITTEN for n in range(10)]
    everything = [*cases(), *cuts]
    return everything if os.environ.get("HEIRLOOM_ALL_CASES") else chance.sample(everything, SAMPLE)


@pytest.fixture(scope="module")
def pristine(made: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malformed") / "pristine"
    shutil.copytree(made.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_READ))
    return folder


def test_every_case_is_told_or_harmless(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {}
    for number, case in enumerate(chosen()):
        project = tmp_path / str(number)
        shutil.copytree(pristine, project, symlinks=True)
        monkeypatch.chdir(project)
        outcome = what_happens(case, project)
        if outcome is not None:
            wrong[case.name] = outcome
        shutil.rmtree(project, ignore_errors=True)
    assert wrong == {}


def test_verify_tells_of_what_is_odd_or_damaged(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    artifact = "checkpoints/sft/content.txt"
    harms = {f"checkpoints/sft: {name}": harm for name, harm in odd_files(artifact) if name.startswith("a link")}
    for name, harm in {**harms, "cache": damaged_listings}.items():
        project = tmp_path / name.replace("/", " ")
        shutil.copytree(pristine, project, symlinks=True)
        monkeypatch.chdir(project)
        assert verify() == 0, capsys.readouterr().out
        harm(project)
        assert verify() == 1
        told = capsys.readouterr().out
        if name == "cache":
            assert "checkpoints/sft: the folder object" in told and "has other content than its name says" in told
        else:
            assert "train-sft: checkpoints/sft was edited\n" in told and "hashed: 1 wrong" in told, name


def what_happens(case: Case, project: Path) -> str | None:
    """Return what is wrong with how planning answers a case; None when that is right."""
    case.harm(project)
    settings = dict(case.settings)
    signal.signal(signal.SIGALRM, hung)
    signal.alarm(PATIENCE)
    try:
        force = settings.get("force")
        ledger = open_ledger(True, settings.get("runs"), force)
        print_plan(ledger, io.StringIO())
    except HeirloomError as error:
        sentence = str(error)
        if case.right == "heal":
            return f"refused: {sentence}"
        return None if case.place in sentence else f"does not name {case.place}: {sentence}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a trace
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return None if case.right == "heal" else "accepted"


def hung(*_) -> None:
    raise TimeoutError("hung")
