"""Throwaway clones, built once and copied for each test."""

from pathlib import Path

import pytest
from clone import STAGES, Clone, succeeded
from made_once import made_once


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of its own: DVC's settings, its state and the default remote."""
    return made_once(tmp_path_factory, "contract-home", Path.mkdir)


@pytest.fixture(scope="session")
def fresh(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has run yet. Copy it; do not change it."""
    return Clone(made_once(tmp_path_factory, "contract-fresh", lambda folder: Clone.create(folder, home)), home)


@pytest.fixture(scope="session")
def made(fresh: Clone, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `snakemake` has made everything, pushed and committed. Copy it; do not change it."""

    def make(folder: Path) -> None:
        clone = fresh.copy_to(folder)
        succeeded(clone.snakemake())
        assert set(clone.executed()) == STAGES
        succeeded(clone.dvc("push"))
        clone.commit("made by snakemake")

    return Clone(made_once(tmp_path_factory, "contract-made", make), home)


@pytest.fixture
def clone(made: Clone, tmp_path: Path) -> Clone:
    """A copy of `made` to work in."""
    return made.copy_to(tmp_path / "clone")
