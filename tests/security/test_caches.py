"""What is remembered between two calls is data: whoever can write a cache gets no code into the next `snakemake`."""

import ast
import datetime
import pickle
from pathlib import Path

import pytest
from attackers import Planted

from pipeline.dvc_project import cache_folder
from pipeline.remembering import recall, remember

REPOSITORY = Path(__file__).resolve().parents[2]
OWN_CODE = ("scripts", "workflow/pipeline", "workflow/plugins", "docker", "slurm", "sagemaker")


@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL])
def test_a_planted_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("remembered")
    file.write_bytes(pickle.dumps((1, {"key": Planted()}), protocol))
    assert recall(file, 1) == {}
    assert not Path("pwned").exists()


def test_a_returned_cache_runs_nothing_when_the_settings_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    cache_folder()
    (found,) = Path(".heirloom/cache").iterdir()
    found.write_bytes(pickle.dumps((1, Planted())))
    assert cache_folder() == Path(".dvc/cache")
    assert not Path("pwned").exists()


def test_what_json_gives_back_changed_is_not_remembered(tmp_path: Path) -> None:
    same = {"text": "ä\udc80", "list": [1, 1.0, True, None], "inner": {"1": 1e-05}}
    changed = {"date": datetime.date(2026, 11, 28), "number": {1: "a"}, "pair": (1, 2)}
    remember(tmp_path / "file", 1, same | changed)
    assert recall(tmp_path / "file", 1) == same
    assert recall(tmp_path / "file", 2) == {}


def test_no_program_of_ours_unpickles() -> None:
    named = {}
    for folder in OWN_CODE:
        for file in (REPOSITORY / folder).rglob("*.py"):
            if "tests" not in file.relative_to(REPOSITORY).parts:
                words = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.alias)}
                named[str(file)] = words & {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
    assert len(named) > 100
    assert {file: words for file, words in named.items() if words} == {}


def test_what_torch_compiles_is_kept_in_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heirloom.launcher import environment
    from heirloom.launcher.ranks import Ranks
    from heirloom.launcher.work import WorkFolder

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    for kind in ("python", "torchrun"):
        variables = environment.for_program(kind, Ranks(1, 2, "cpu"), WorkFolder(tmp_path / "work"), None, None)
        assert Path(variables["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(tmp_path)


def test_the_image_names_no_cache_that_all_users_of_a_machine_share() -> None:
    """Apptainer shares the host's /tmp and /var/tmp with the image, and sets HOME to the user's own."""
    text = (REPOSITORY / "docker/Dockerfile").read_text()
    assert "CACHE" not in text.partition("ENV container=oci")[2].partition("WORKDIR")[0]
