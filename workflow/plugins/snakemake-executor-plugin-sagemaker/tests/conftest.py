import pytest

from running import make_bucket

pytest_plugins = ["loopback.plugin"]


@pytest.fixture
def loopback_options(tmp_path):
    """The jobs see nothing of the submitting machine's folders, as on AWS."""
    return {"hide": (str(tmp_path),)}


@pytest.fixture
def bucket(aws):
    """The bucket that the tests' workflows use."""
    make_bucket(aws)
