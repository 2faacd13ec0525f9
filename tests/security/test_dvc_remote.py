"""Whoever can write to the DVC remote, or where all users can, gets nothing into the clones that read it."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.dvc_project import dvc_repository
from pipeline.execution.job_remote import remote_for_jobs
from pipeline.execution.restore import put_in_place
from pipeline.ledger import read_lock


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clone`, where a stage has made the folder `out/`, and `remote`, where it was pushed to."""
    folder = tmp_path_factory.mktemp("pushed")
    (folder / "clone").mkdir()
    (folder / "clone/raw").mkdir()
    (folder / "clone/raw/a.txt").write_text("on Monday")
    (folder / "clone/scripts").mkdir()
    (folder / "clone/dvc.yaml").write_text("stages: {copy: {cmd: cp -r raw out, deps: [raw], outs: [out]}}\n")
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(folder / "site"), "DVC_NO_ANALYTICS": "1"}
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "remote", "add", "-q", "-d", "storage", "../remote"],
        ["dvc", "repro", "-q"],
        ["dvc", "push", "-q"],
    ):
        subprocess.run(command, cwd=folder / "clone", check=True, env=environment)
    shutil.rmtree(folder / "clone/out")
    shutil.rmtree(folder / "clone/.dvc/cache")
    shutil.rmtree(folder / "clone/.dvc/tmp")
    return folder


@pytest.fixture
def place(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `pushed`; the current folder is its clone, where nothing of `out/` is."""
    monkeypatch.chdir(shutil.copytree(pushed, tmp_path, dirs_exist_ok=True) / "clone")
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    return tmp_path


def objects(place: Path) -> Path:
    return place / "remote/files/md5"


def stored(place: Path, content: bytes, ending: str = "") -> str:
    """Put an object on the remote as a writer of it can, under the name that its content has."""
    value = hashlib.md5(content).hexdigest() + ending
    file = objects(place) / value[:2] / value[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return value


def listing(place: Path) -> Path:
    return next(objects(place).glob("*/*.dir"))


def everything(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if not {".dvc", ".heirloom"} & set(path.parts)}


def test_what_was_pushed_is_restored(place: Path) -> None:
    assert put_in_place("copy", read_lock()["copy"])
    assert Path("out/a.txt").read_text() == "on Monday"


@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_a_damaged_object_in_the_cache_is_never_put_in_place(place: Path, mode: int) -> None:
    """What a failing disk left there; DVC itself believes an object that nobody may write."""
    assert put_in_place("copy", read_lock()["copy"])
    for found in Path(".dvc/cache/files/md5").rglob("*"):
        if found.is_file() and not found.name.endswith(".dir"):
            found.chmod(0o644)
            found.write_text("no Monday")
            found.chmod(mode)
    shutil.rmtree("out")
    shutil.move(place / "remote", place / "away")
    assert not put_in_place("copy", read_lock()["copy"]) and not Path("out").exists()
    shutil.move(place / "away", place / "remote")
    assert put_in_place("copy", read_lock()["copy"])
    assert Path("out/a.txt").read_text() == "on Monday"


def test_a_changed_folder_object_is_refused(place: Path, capsys: pytest.CaptureFixture) -> None:
    rows = json.loads(listing(place).read_bytes())
    planted = stored(place, b"print('planted')\n")
    listing(place).chmod(0o644)
    listing(place).write_text(json.dumps([*rows, {"md5": planted, "relpath": "../scripts/planted.py"}]))
    before = everything(place)
    assert not put_in_place("copy", read_lock()["copy"])
    assert everything(place) == before
    assert "has other content than its name says" in capsys.readouterr().err


NAMES = (
    "../scripts/planted.py",
    "/planted.py",
    "a/../../planted.py",
    "",
    ".",
    "..",
    "x//y",
    "./x",
    "a\\b",
    "a\0b",
    "x/",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_folder_object_that_names_other_places_is_refused(
    place: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    """As after a job that was taken over: dvc.lock, or a marker, and the remote say the same."""
    planted = stored(place, b"print('planted')\n")
    content = json.dumps([{"md5": planted, "relpath": name}]).encode()
    entry = read_lock()["copy"]
    entry["outs"][0]["md5"] = stored(place, content, ".dir")
    before = everything(place)
    assert not put_in_place("copy", entry)
    assert everything(place) == before
    assert "which is no file inside its artifact" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["../../../../clone/scripts/planted.py", "/etc/passwd", "", "d41d8cd98f", 7])
def test_a_hash_in_a_folder_object_names_no_other_place(place: Path, value: object) -> None:
    (place / "planted.py").write_text("planted")
    content = json.dumps([{"md5": value, "relpath": "x"}]).encode()
    entry = read_lock()["copy"]
    entry["outs"][0]["md5"] = stored(place, content, ".dir")
    before = everything(place)
    assert not put_in_place("copy", entry)
    assert everything(place) == before


def test_a_changed_file_on_the_remote_is_refused(place: Path) -> None:
    value = json.loads(listing(place).read_bytes())[0]["md5"]
    file = objects(place) / value[:2] / value[2:]
    file.chmod(0o644)
    file.write_text("on MONDAY")
    assert not put_in_place("copy", read_lock()["copy"])
    assert not Path("out").exists()


def test_a_list_that_a_plain_fetch_brought_is_looked_at_too(place: Path, capsys: pytest.CaptureFixture) -> None:
    entry = read_lock()["copy"]
    content = json.dumps([{"md5": stored(place, b"planted"), "relpath": "../scripts/planted.py"}]).encode()
    entry["outs"][0]["md5"] = stored(place, content, ".dir")
    shutil.copytree(objects(place), ".dvc/cache/files/md5")
    assert not put_in_place("copy", entry)
    assert list(Path("scripts").iterdir()) == []


def test_dvc_keeps_its_state_in_the_clone(place: Path) -> None:
    """Its state is unpickled; where DVC itself puts it, every user of the machine can replace it."""
    with dvc_repository() as repo:
        assert Path(repo.site_cache_dir).is_relative_to(place / "clone/.dvc/tmp")


def test_a_place_for_dvcs_state_that_the_user_names_holds(place: Path) -> None:
    with Path(".dvc/config.local").open("a") as file:
        file.write(f"[core]\n    site_cache_dir = {place}/mine\n")
    with dvc_repository() as repo:
        assert Path(repo.site_cache_dir).is_relative_to(place / "mine")


def test_a_remote_that_anybody_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    setting = "[core]\n    remote = all\n['remote \"all\"']\n    url = s3://bucket/data\n    acl = "
    for acl, wrong in (
        ("public-read", ["the DVC remote all has acl = public-read, by which anybody"]),
        ("private", []),
    ):
        Path(".dvc/config").write_text(setting + acl)
        found = remote_for_jobs()[1]
        assert [text[: len(start)] for text, start in zip(found, wrong, strict=True)] == wrong
    Path(".dvc/config").write_text(f"{setting}private\n    jobs = 12\n    read_timeout = 9")
    sent = remote_for_jobs()[0]
    assert sent["jobs"] == "12" and "read_timeout" not in sent  # as many streams there as here
