"""Throwaway clones, built once and copied for each test."""

from pathlib import Path

import pytest
from clone import STAGES, Clone, succeeded


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of its own: DVC's settings, its state and the default remote."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def fresh(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has run yet. Copy it; do not change it."""
    return Clone.create(tmp_path_factory.mktemp("fresh") / "clone", home)


@pytest.fixture(scope="session")
def made(fresh: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `snakemake` has made everything, pushed and committed. Copy it; do not change it."""
    clone = fresh.copy_to(tmp_path_factory.mktemp("made") / "clone")
    succeeded(clone.snakemake())
    assert set(clone.executed()) == STAGES
    succeeded(clone.dvc("push"))
    clone.commit("made by snakemake")
    return clone


@pytest.fixture
def clone(made: Clone, tmp_path: Path) -> Clone:
    """A copy of `made` to work in."""
    return made.copy_to(tmp_path / "clone")
