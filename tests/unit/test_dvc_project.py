"""DVC's settings by its own reader, its lock file that was cut short, and places where DVC cannot work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from pipeline.dvc_project import cache_folder, dvc_repository, release_what_the_dead_hold, set_aside_damaged_lock
from pipeline.graph import Graph, dvcfile
from pipeline.ledger import WorkflowLock, content_hash, read_lock

SETTINGS = {
    "plain": "[cache]\n    dir = /somewhere/shared\n",
    "quotes": '[cache]\n    dir = "/somewhere/a, b"\n',
    "a comment behind": "[cache]\n    dir = /somewhere/shared  # of all\n",
    "home": "[cache]\n    dir = ~/shared\n",
    "per cent": "[cache]\n    dir = /somewhere/100%full\n",
    "relative": "[cache]\n    dir = other/cache\n",
    "none": "[core]\n    analytics = false\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".dvc/tmp").mkdir(parents=True)
    (folder / ".dvc/config").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    (tmp_path / "global").mkdir()
    return folder


@pytest.mark.parametrize("place", ["../global/config", ".dvc/config", ".dvc/config.local"])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_cache_is_where_dvc_says(project: Path, name: str, place: str) -> None:
    from dvc.repo import Repo

    subprocess.run(["git", "init", "-q"], check=True)
    assert cache_folder() == Path(".dvc/cache")  # remembered, until a file of settings is touched
    Path(place).write_text(SETTINGS[name])
    with Repo() as repo:
        assert cache_folder().absolute() == Path(repo.cache.local_cache_dir)


def test_settings_that_dvc_cannot_read_are_one_sentence(project: Path) -> None:
    Path(".dvc/config").write_text("[cache\n")
    with pytest.raises(HeirloomError, match="DVC's settings cannot be read: .*mend .dvc/config"):
        cache_folder()


def test_where_dvc_cannot_work_is_one_sentence(project: Path) -> None:
    with pytest.raises(HeirloomError, match="DVC cannot work here: .*not a git repository"), dvc_repository():
        pass


def test_a_folder_without_dvc_and_a_dvcignore_that_hides_an_artifact_are_one_sentence(project: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    Path("checkpoints/a").mkdir(parents=True)
    Path("checkpoints/a/weights").write_text("1")
    assert content_hash("checkpoints/a").endswith(".dir")
    Path(".dvcignore").write_text("checkpoints\n")
    with pytest.raises(HeirloomError, match="^checkpoints/a: .dvcignore hides all of its files, so DVC could not"):
        content_hash("checkpoints/a")
    shutil.rmtree(".dvc")
    with pytest.raises(HeirloomError, match="^DVC cannot work here: .*not inside of a DVC repository"):
        content_hash("checkpoints/a")


def test_a_lock_file_of_dvcs_cut_at_any_length_is_put_aside(project: Path, capsys: pytest.CaptureFixture) -> None:
    file = Path(".dvc/tmp/rwlock")
    held = json.dumps({"write": {"/a/checkpoints/x": {"pid": 7, "cmd": "dvc repro"}}, "read": {}})
    for length in range(len(held)):
        file.write_text(held[:length])
        set_aside_damaged_lock()
        assert not file.exists(), length
    assert "rwlock was cut short when a process was killed or a disk full: put aside as" in capsys.readouterr().err
    for content in ("[]", '{"read": 3}', "\udcff"):
        file.write_bytes(content.encode(errors="surrogateescape"))
        set_aside_damaged_lock()
        assert not file.exists(), content
    file.write_text(held)
    set_aside_damaged_lock()
    assert file.read_text() == held


def test_a_killed_process_that_nobody_has_waited_for_holds_nothing(project: Path) -> None:
    """DVC takes it for living: it has a number still."""
    file = Path(".dvc/tmp/rwlock")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as killed:
        dead, living = ({"pid": number, "cmd": "dvc repro"} for number in (killed.pid, os.getpid()))
        held = {"write": {"/a/x": dead, "/a/y": living}, "read": {"/a/z": [dead, living], "/a/w": [dead]}}
        file.write_text(json.dumps(held))
        release_what_the_dead_hold()
        assert json.loads(file.read_text()) == held
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not collected
        release_what_the_dead_hold()
        assert json.loads(file.read_text()) == {"write": {"/a/y": living}, "read": {"/a/z": [living]}}
    for odd in ("[]", '{"read": {"/a": [3]}}', '{"write": {"/a": {"pid": "x"}}}', "{"):
        file.write_text(odd)
        release_what_the_dead_hold()
        assert file.read_text() == odd


@pytest.mark.parametrize("in_its_place", [".heirloom", ".heirloom/lock"])
def test_a_lock_that_cannot_be_had_is_told(project: Path, in_its_place: str) -> None:
    if in_its_place == ".heirloom":
        Path(in_its_place).write_text("a file")
    else:
        Path(in_its_place).mkdir(parents=True)
    lock = WorkflowLock()
    assert not lock.take()
    assert lock.problem


def test_a_folder_where_dvc_locks_is_told_by_its_own_name(project: Path) -> None:
    Path("dvc.lock").write_text("schema: '2.0'\n")
    Path(".dvc/tmp/lock").mkdir()
    with pytest.raises(HeirloomError, match="^.dvc/tmp/lock is no file, and DVC locks by it: delete it"):
        read_lock()


def test_a_dvc_yaml_of_any_bytes_is_written_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvcfile, "dvc_yaml", lambda *_: "stages: {}\n")
    Path("dvc.yaml").write_bytes(b"\xff\xfe\x00stages")
    assert dvcfile.write(Graph({})) and Path("dvc.yaml").read_text() == "stages: {}\n"
    Path("dvc.yaml").unlink()
    Path("dvc.yaml").mkdir()
    with pytest.raises(HeirloomError, match="^dvc.yaml is a folder, and should be the file that `make"):
        dvcfile.write(Graph({}))
