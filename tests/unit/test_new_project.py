"""What `make new-project` asks and refuses; what it makes is followed in tests/end_to_end/test_tutorial.py."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from configobj import ConfigObj
from working_tree import copy_working_tree

from heirloom.errors import HeirloomError
from new_project import ROOT, check_clone, name_remote, new_folder, storage
from pipeline.graph.dvcfile import HEADER


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("none", None),
        ("s3://bucket", "s3://bucket"),
        ("s3://my.bucket-1/a prefix/", "s3://my.bucket-1/a prefix/"),
        ("/shared/my, own #1", "/shared/my, own #1"),
        ("~/storage", f"{Path.home()}/storage"),
    ],
)
def test_a_place_is_what_dvc_reads_of_it(tmp_path: Path, text: str, place: str | None):
    assert storage(text, tmp_path / "mine") == place
    if place is not None:
        file = tmp_path / "config"
        file.write_text((ROOT / ".dvc/config").read_text())
        name_remote(file, place)
        settings = ConfigObj(str(file))
        assert settings['remote "storage"'] == {"url": place, "verify": "true"}
        assert settings["core"]["remote"] == "storage" and settings["core"]["analytics"] == "false"


@pytest.mark.parametrize(
    "text",
    ["gs://bucket", "s3://", "s3://B", "s3://key:secret@bucket", "", "a\nb", "a\x1b[0m", "a'b\"c", "mine/inside"],
)
def test_other_places_are_refused_and_no_secret_is_repeated(tmp_path: Path, monkeypatch, text: str):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeirloomError, match="^REMOTE: ") as refused:
        storage(text, tmp_path / "mine")
    assert "secret" not in str(refused.value)


def test_a_folder_has_to_be_empty_and_outside(tmp_path: Path):
    assert new_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    assert new_folder(str(tmp_path)) == tmp_path
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path, "not empty"), (tmp_path / "file", "not empty"), (ROOT / "mine", "in this clone")):
        with pytest.raises(HeirloomError, match=reason):
            new_folder(str(place))


def test_a_project_is_made_of_a_clone_of_heirloom_alone(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("new_project.ROOT", tmp_path / "inside")
    (tmp_path / "inside").mkdir()
    with pytest.raises(HeirloomError, match="is no git clone of Heirloom"):
        check_clone()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(HeirloomError, match="is no git clone of Heirloom"):  # the repository is another one's
        check_clone()
    monkeypatch.setattr("new_project.ROOT", tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/project.yaml").touch()
    with pytest.raises(HeirloomError, match="this is a project already"):
        check_clone()


def test_without_a_place_it_is_asked_for_on_a_terminal_and_refused_elsewhere(tmp_path: Path):
    """By the system's bare python, to which nothing is installed: it is the first that a newcomer types."""
    clone = tmp_path / "heirloom"
    wanted = (
        "scripts/new_project.py",
        "scripts/heirloom/",
        "workflow/project_template/",
        ".dvc/config",
        "README.md",
        "dvc.yaml",
    )
    copy_working_tree(clone, lambda name: name.startswith(wanted))
    environment = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
    environment |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *words], cwd=clone, env=environment, check=True)
    command = [sys.executable, "-I", "-S", "-c", "import sys, runpy; sys.path[:0] = ['scripts']; sys.argv[0] = "
               "'scripts/new_project.py'; runpy.run_path(sys.argv[0], run_name='__main__')", "../mine"]  # fmt: skip
    refused = subprocess.run(
        command, cwd=clone, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "error: REMOTE: say where the project's artifacts go: s3://BUCKET/PREFIX, a folder"
    )
    assert not (tmp_path / "mine").exists()
    controller, terminal = pty.openpty()
    asked = subprocess.Popen(command, cwd=clone, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.write(controller, b"\n s3://bucket/mine \n")
    assert asked.wait(timeout=60) == 0
    assert "artifacts go to s3://bucket/mine" in os.read(controller, 10_000).decode()
    assert "s3://bucket/mine" in (tmp_path / "mine/.dvc/config").read_text()
    stages = (tmp_path / "mine/dvc.yaml").read_text()
    assert stages.splitlines()[:3] == [HEADER.rstrip("\n"), "stages:", "  check-config:"]
    assert re.findall(r"^  (\S+):$", stages, re.MULTILINE) == ["check-config"]
    assert (clone / "dvc.yaml").read_text().count(stages.partition("stages:\n")[2]) == 1
    os.close(controller)
    os.close(terminal)
