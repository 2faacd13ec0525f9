"""What the tests of training share; each is made once for all of them."""

import pytest
from training_workplace import RUNS, UNWATCHED, WATCHED, Workplace, make_workplace, training_command


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Workplace:
    """A workplace with a tiny model and a tiny processed dataset of each kind."""
    return make_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def runs(workplace):
    """The chain pretrain → SFT → DPO at ZeRO-2, watched closely: the folder of the runs, and what each printed."""
    said = {name: workplace.launch(*training_command(workplace, name, f"runs/{name}", WATCHED)).stdout for name in RUNS}
    return workplace.folder / "runs", said


@pytest.fixture(scope="session")
def zero3_runs(workplace, runs):
    """SFT and DPO once more at ZeRO-3: the folder of the runs."""
    for name in ("sft", "dpo"):
        workplace.launch(*training_command(workplace, name, f"zero3/{name}", UNWATCHED, zero="zero3"))
    return workplace.folder / "zero3"
