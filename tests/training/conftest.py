"""What the tests of training share; each is made once for all of them, by whichever of pytest's workers is first."""

import shutil
from pathlib import Path

import pytest
from made_once import made_once
from training_workplace import RUNS, UNWATCHED, WATCHED, Workplace, make_workplace, training_command
from warm_start import OF_EACH_RANK, warm_ranks

COLD = ("test_by_hand", "test_interruption", "test_launcher", "test_resuming", "test_trainers")
"""What asks how ranks begin and end, or for the bytes of a card: there each rank imports its libraries itself."""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    """A workplace with a tiny model and a tiny processed dataset of each kind. Copy it."""

    def make(folder: Path) -> None:
        folder.mkdir()
        make_workplace(folder)

    return made_once(tmp_path_factory, "training-workplace", make)


@pytest.fixture(scope="session")
def made_runs(pristine, tmp_path_factory) -> Path:
    """A copy in which pretrain → SFT → DPO have run at ZeRO-2, watched closely; NAME.said is what each printed.

    Ranks begin with what every rank loads: a card names the libraries that were loaded.
    """

    def make(folder: Path) -> None:
        place = Workplace(Path(shutil.copytree(pristine, folder)))
        for name in RUNS:
            said = place.launch(
                *training_command(place, name, f"runs/{name}", WATCHED), **warm_ranks(OF_EACH_RANK)
            ).stdout
            (folder / f"{name}.said").write_text(said)

    return made_once(tmp_path_factory, "training-runs", make)


@pytest.fixture(scope="session")
def made_zero3_runs(made_runs, tmp_path_factory) -> Path:
    """A copy of that in which SFT and DPO have run at ZeRO-3 too."""

    def make(folder: Path) -> None:
        place = Workplace(Path(shutil.copytree(made_runs, folder)))
        for name in ("sft", "dpo"):
            place.launch(
                *training_command(place, name, f"zero3/{name}", UNWATCHED, zero="zero3"), **warm_ranks(OF_EACH_RANK)
            )

    return made_once(tmp_path_factory, "training-zero3-runs", make)


@pytest.fixture(scope="module")
def workplace(request, pristine, tmp_path_factory) -> Workplace:
    """A workplace of each test file's own, in which its tests may make what they like."""
    folder = Path(shutil.copytree(pristine, tmp_path_factory.mktemp("training") / "workplace"))
    return Workplace(folder, warm=request.module.__name__ not in COLD)


@pytest.fixture(scope="module")
def runs(workplace, made_runs):
    """The chain pretrain → SFT → DPO in the workplace: the folder of the runs, and what each printed."""
    shutil.copytree(made_runs / "runs", workplace.folder / "runs")
    return workplace.folder / "runs", {name: (made_runs / f"{name}.said").read_text() for name in RUNS}


@pytest.fixture(scope="module")
def zero3_runs(workplace, runs, made_zero3_runs):
    """SFT and DPO once more at ZeRO-3: the folder of the runs."""
    return Path(shutil.copytree(made_zero3_runs / "zero3", workplace.folder / "zero3"))
