from pathlib import Path

import pytest

from running import make_bucket

pytest_plugins = ["loopback.plugin"]
SOURCES = str(Path(__file__).parents[1] / "src")


@pytest.fixture(autouse=True)
def _plugin_everywhere(monkeypatch):
    """The programs that tests start find this plugin, installed or not."""
    monkeypatch.setenv("PYTHONPATH", SOURCES)


@pytest.fixture
def loopback_options(tmp_path):
    """The image holds this plugin, and the jobs see nothing of the submitting machine's folders, as on AWS."""
    return {"hide": (str(tmp_path),), "container_env": {"PYTHONPATH": SOURCES}}


@pytest.fixture
def bucket(aws):
    """The bucket that the tests' workflows use."""
    make_bucket(aws)
