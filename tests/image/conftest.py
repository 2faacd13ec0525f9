"""The image, built once for all tests of this folder, by the script that users build it with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_jobs import PLUGIN
from working_tree import copy_working_tree
from workplace import KEEP, Workplace, reason_to_skip

sys.path.append(str(PLUGIN / "tests"))  # loopback

from loopback.plugin import aws, loopback, moto_endpoint  # noqa: E402, F401


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    place = Workplace(Path(os.environ[KEEP]) if KEEP in os.environ else tmp_path_factory.mktemp("image"))
    try:
        if obstacle := place.obstacle():
            pytest.skip(obstacle)
        yield place
    finally:
        place.close()


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository, working tree included, with everything committed."""
    folder = tmp_path_factory.mktemp("clone") / "heirloom"
    copy_working_tree(folder)
    git = ["git", "-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "begin"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder
