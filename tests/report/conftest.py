"""The made-up project with its reports, made once by the script, and a browser."""

import pytest
from browser import Browser, find_browser
from made_up_project import make_project
from report_place import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where reports/sft.html and reports/index.html have been made."""
    place = Place(make_project(tmp_path_factory.mktemp("report") / "project"))
    place.report_run("sft")
    done = place.run("--all")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return find_browser(tmp_path_factory.mktemp("browser"))
