"""Nothing that is needed leaves the cache, and a list that may be incomplete moves nothing at all."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from pipeline.dvc_project import cache_folder
from pipeline.folder_objects import object_path
from pipeline.upkeep import clean_cache, empty_trash

LOCK = """schema: '2.0'
stages:
  train-a:
    cmd: x
    outs:
    - path: {path}
      hash: md5
      md5: {value}
"""
REPOSITORY = Path(__file__).resolve().parents[2]
ADDED = "outs:\n- md5: {value}\n  size: 1\n  hash: md5\n  path: {path}\n"


@pytest.fixture(params=[".", "inner/project"])
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project with nothing in it, the whole of a git repository or a folder in it."""
    top = tmp_path / "repository"
    folder = top / request.param
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").touch()
    (top / ".gitignore").write_text("cache\ntmp\n")
    monkeypatch.chdir(top)
    git("init", "-q", "-b", "main")
    git("config", "user.name", "tester")
    git("config", "user.email", "tester@example.org")
    monkeypatch.chdir(folder)
    yield folder


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


def stored(text: str, folder: Path = Path(".dvc/cache/files/md5"), ending: str = "") -> str:
    """Put an object into the cache and return its name."""
    value = hashlib.md5(text.encode()).hexdigest() + ending
    object_path(value, folder).parent.mkdir(parents=True, exist_ok=True)
    object_path(value, folder).write_text(text)
    return value


def lock(text: str) -> None:
    """Let dvc.lock record an object of this content, which the cache gets."""
    Path("dvc.lock").write_text(LOCK.format(path="checkpoints/a", value=stored(text)))


def commit(text: str) -> None:
    lock(text)
    git("add", "-A")
    git("commit", "-q", "-m", text)


def test_what_is_recorded_anywhere_stays(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    listed = stored("a file of a folder")
    folder = stored(json.dumps([{"md5": listed, "relpath": "x"}]), ending=".dir")
    Path("raw").mkdir()
    Path("raw/rows.jsonl.dvc").write_text(ADDED.format(value=folder, path="rows.jsonl"))
    commit("on main")
    git("tag", "kept")
    commit("later on main")
    git("checkout", "-q", "-b", "other")
    commit("on a branch")
    git("checkout", "-q", "--detach")
    commit("only in the reflog")
    git("checkout", "-q", "main")
    lock("in a stash")
    git("stash", "-q")
    tree = tmp_path / "tree"
    git("worktree", "add", "-q", "--detach", str(tree), "main")
    beside = tree / project.relative_to(tmp_path / "repository")
    (beside / "dvc.lock").write_text(LOCK.format(path="x", value=stored("not committed in another work tree")))
    git("checkout", "-q", "--detach")
    commit("on a detached head")
    lock("in the index")
    git("add", "dvc.lock")
    lock("in the working tree")
    spare = stored("of an experiment that nobody kept")
    clean_cache(yes=False)
    said = capsys.readouterr().out
    assert spare in said and "1 objects, 33 bytes" in said
    assert object_path(spare, Path(".dvc/cache/files/md5")).exists()  # nobody was asked
    clean_cache(yes=True)
    assert not object_path(spare, Path(".dvc/cache/files/md5")).exists()
    (moved,) = Path(".dvc/cache/trash").rglob(spare[2:])
    assert moved.read_text() == "of an experiment that nobody kept"
    clean_cache(yes=True)
    assert "0 objects" in capsys.readouterr().out
    empty_trash(yes=True)
    assert not moved.exists()


def refused(match: str) -> None:
    before = sorted(cache_folder().rglob("*"))
    with pytest.raises(HeirloomError, match=match) as error:
        clean_cache(yes=True)
    assert "nothing is deleted" in str(error.value) or "DVC cannot work here" in str(error.value)
    assert sorted(cache_folder().rglob("*")) == before


def damaged_listing() -> None:
    folder = stored("[{", ending=".dir")
    Path("rows.dvc").write_text(ADDED.format(value=folder, path="rows"))


def conflict_marks() -> None:
    Path("dvc.lock").write_text("<<<<<<< ours\n" + Path("dvc.lock").read_text() + "=======\n>>>>>>> theirs\n")


def branch_that_git_cannot_read() -> None:
    Path(
        subprocess.check_output(["git", "rev-parse", "--git-path", "refs/heads/broken"], text=True).strip()
    ).write_text("1234567890123456789012345678901234567890\n")


def no_git() -> None:
    top = Path(subprocess.check_output(["git", "rev-parse", "--show-toplevel"], text=True).strip())
    (top / ".git").rename(top / "not.git")


@pytest.mark.parametrize("project", ["."], indirect=True)
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (damaged_listing, "is damaged"),
        (conflict_marks, r"dvc\.lock cannot be read"),
        (branch_that_git_cannot_read, "git for-each-ref failed"),
        (no_git, "is not a git repository"),
    ],
)
def test_a_list_that_may_be_incomplete_moves_nothing(project: Path, harm: Callable[[], None], told: str) -> None:
    commit("on main")
    stored("spare")
    harm()
    refused(told)


@pytest.mark.parametrize("project", ["."], indirect=True)
def test_a_cache_that_others_may_use_wants_their_names(project: Path, tmp_path: Path) -> None:
    commit("on main")
    shared = tmp_path / "shared"
    Path(".dvc/config.local").write_text(f"[cache]\n    dir = {shared}\n")
    refused("outside this clone")
    other = tmp_path / "other"
    git("clone", "-q", ".", str(other))
    theirs = stored("of the other clone", shared / "files/md5")
    (other / "dvc.lock").write_text(LOCK.format(path="x", value=theirs))
    spare = stored("spare", shared / "files/md5")
    clean_cache(yes=True, clones=[other])
    assert object_path(theirs, shared / "files/md5").exists()
    assert not object_path(spare, shared / "files/md5").exists()
    with pytest.raises(HeirloomError, match="there is no clone of a DVC project"):
        clean_cache(yes=True, clones=[tmp_path])


@pytest.mark.parametrize(
    ("clones", "counted"),
    [("", None), ("none", []), ("/one two", ["/one", "two"]), ("/shared/none ./none", ["/shared/none", "none"])],
)
def test_make_names_every_clone_and_one_in_a_folder_none_too(
    tmp_path: Path, clones: str, counted: list[str] | None
) -> None:
    """A clone whose folder had the name `none` was not counted, and what it needs was moved away."""
    pipeline = tmp_path / "workflow/pipeline"
    pipeline.mkdir(parents=True)
    shutil.copy(REPOSITORY / "workflow/pipeline/__main__.py", pipeline)
    (pipeline / "defects.py").write_text("one_sentence = str\n")
    (pipeline / "upkeep.py").write_text("def clean_cache(yes, clones):\n    print(clones and [*map(str, clones)])\n")
    (tmp_path / "scripts").symlink_to(REPOSITORY / "scripts")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    command = ["make", "--no-print-directory", "clean-cache", f"CLONES={clones}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{counted and [str(tmp_path / clone) for clone in counted]}\n", done.stderr
