"""The history holds executions, whatever was killed while it was written, and nothing that is no execution."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import IGNORED
from pipeline.defects import one_sentence
from pipeline.execution.restore import make_way
from pipeline.ledger import History, identity_of, markers
from pipeline.ledger.ledger import listed
from pipeline.session import session

REPOSITORY = Path(__file__).resolve().parents[2]
OUTS = [{"path": "checkpoints/a", "hash": "md5", "md5": "0123456789abcdef0123456789abcdef.dir", "size": 1, "nfiles": 1}]
EXPECTED = {"cmd": "python x.py", "outs": [{"path": "checkpoints/a"}]}
ENTRY = EXPECTED | {"outs": OUTS}
MADE_WITH = {
    "started": "2026-11-29T00:00:00Z",
    "seconds": 3,
    "ranks": {"nodes": 1, "per_node": 1, "device": "cpu"},
    "machine": {"system": "Linux", "processor": "x", "cores": 2},
    "versions": {"python": "3.11.7"},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()


def record(exit_code: int = 0, outs: list | None = OUTS) -> None:
    Path(".heirloom/records").mkdir(parents=True, exist_ok=True)
    facts = {"stage": "train-a", "identity": identity_of(ENTRY), "exit_code": exit_code, "outs": outs, **MADE_WITH}
    Path(".heirloom/records/train-a.json").write_text(json.dumps(facts))


def test_an_execution_here_is_known_before_anybody_wrote_it_down() -> None:
    assert list(History().find("train-a", EXPECTED)) == []
    record()
    assert list(History().find("train-a", EXPECTED)) == [ENTRY]
    History().add_executed_here("train-a")
    History().add_executed_here("train-a")
    assert len(Path(".dvc/history.jsonl").read_text().splitlines()) == 1
    Path(".heirloom/records/train-a.json").unlink()
    assert list(History().find("train-a", EXPECTED)) == [ENTRY]
    assert History().made_with("train-a", ENTRY) == MADE_WITH


@pytest.mark.parametrize(("exit_code", "outs"), [(1, OUTS), (0, None), (0, [OUTS[0] | {"md5": "f" * 32}])])
def test_what_no_execution_made_gets_no_line(exit_code: int, outs: list | None) -> None:
    record(exit_code, outs)
    History().add_if_executed({"train-a": ENTRY})
    assert not Path(".dvc/history.jsonl").exists()


def test_a_line_cut_at_any_length_costs_no_other_line() -> None:
    record()
    History().add_executed_here("train-a")
    line = Path(".dvc/history.jsonl").read_bytes()
    for length in range(1, len(line) - 1):
        Path(".dvc/history.jsonl").write_bytes(line + line[:length])
        History().add({"train-b": ENTRY | {"cmd": "python y.py"}})
        assert len(History().rows) == 2, length


def test_a_history_that_cannot_be_written_is_one_sentence() -> None:
    record()
    with pytest.raises(HeirloomError, match=r"^gone/history.jsonl cannot be written \(No such file or dir"):
        History(Path("gone/history.jsonl")).add_executed_here("train-a")
    Path("history.jsonl").mkdir()
    with pytest.raises(HeirloomError, match=r"^history.jsonl cannot be read \(Is a directory\): mend or remove it"):
        History(Path("history.jsonl")).add_executed_here("train-a")


def test_a_session_that_changes_nothing_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_end = []
    monkeypatch.setattr(session.atexit, "register", lambda *call, **options: at_the_end.append((call, options)))
    Path(".heirloom").mkdir()
    folder = session.private_folder()
    (folder / "checkpoints").mkdir()
    assert folder.is_relative_to(".heirloom")
    for (function, *words), options in at_the_end:
        function(*words, **options)
    assert os.listdir(".heirloom") == []


@pytest.mark.parametrize(("made", "again"), [("e" * 32, True), (OUTS[0]["md5"], False)])
def test_snakemake_starts_over_where_a_restored_stage_was_made_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, made: str, again: bool
) -> None:
    """Its data is near by name and damaged: what reads it was not scheduled."""
    at_the_end = []
    monkeypatch.setattr(session.atexit, "register", lambda *call: at_the_end.append(call))
    monkeypatch.setenv(session.AGAIN, "")
    monkeypatch.delenv(session.AGAIN)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--config", "runs=a"])
    markers.write_marker(Path("markers/checkpoints/a"), ENTRY | {"outs": [OUTS[0] | {"md5": made}]})
    graph = SimpleNamespace(stages={"train-a": SimpleNamespace(artifact="checkpoints/a")})
    ledger = SimpleNamespace(near=["train-a"], entries={"train-a": ENTRY})
    this = SimpleNamespace(ledger=ledger, graph=graph, folder=Path("markers"), at_home=True)
    for _ in range(2):  # the session that this one becomes does not start over again
        session.Session.go_on(this)
    restart = (os.execv, sys.executable, [sys.executable, "-m", "snakemake", "--config", "runs=a"])
    assert at_the_end == [restart] * again
    assert ("train-a could not be restored and was made anew: its readers follow" in capsys.readouterr().err) == again


def test_only_a_marker_that_a_job_wrote_is_a_result_that_came_back() -> None:
    folder = Path("markers")
    markers.write_marker(folder / "checkpoints/a", ENTRY)
    assert markers.returned_marker(folder, "checkpoints/a") is None
    os.utime(folder / "checkpoints/a")
    assert markers.returned_marker(folder, "checkpoints/a") == ENTRY
    (folder / "checkpoints/b").mkdir()
    markers.write_marker(folder / "checkpoints/b", ENTRY)
    assert markers.read_marker(folder, "checkpoints/b") == ENTRY


def test_what_stands_in_the_way_of_an_artifact_is_removed() -> None:
    Path("good").mkdir()
    Path("good/file").touch()
    Path("file").touch()
    Path("nowhere").symlink_to("gone")
    Path("circle").symlink_to("circle")
    Path("inside").mkdir()
    Path("inside/link").symlink_to("gone")
    for name in ("good", "file", "nowhere", "circle", "inside", "absent"):
        make_way(name, folder=True)
    assert sorted(os.listdir()) == [".dvc", "good"]
    make_way("good", folder=False)
    assert sorted(os.listdir()) == [".dvc"]


@pytest.mark.parametrize("text", ["", ",", "sft,", ",sft", " ", "a,,b"])
def test_a_missing_name_is_not_all_names(text: str) -> None:
    with pytest.raises(HeirloomError, match="a name is missing"):
        listed("runs", text)
    assert listed("runs", "a, b") == ["a", "b"]
    assert listed("runs", None) is None


def test_an_unexpected_error_is_one_sentence_with_the_place_of_its_trace() -> None:
    try:
        raise KeyError("train-a")
    except KeyError as error:
        said = one_sentence(error)
    assert said.startswith("unexpected KeyError: 'train-a'; the trace is in .heirloom/traces/")
    (trace,) = Path(".heirloom/traces").iterdir()
    assert "raise KeyError" in trace.read_text()


def test_what_is_never_part_of_an_artifact_is_what_dvc_ignores() -> None:
    lines = (REPOSITORY / ".dvcignore").read_text().splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == set(IGNORED)


def test_git_changes_no_byte_of_what_an_identity_reads() -> None:
    files = ["scripts/launch.py", "config/demo/runs/demo-sft.yaml", "workflow/clone_settings.sh", "dvc.lock"]
    done = subprocess.run(
        ["git", "check-attr", "text", *files], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "".join(f"{file}: text: unset\n" for file in files)


def test_git_does_not_see_what_was_put_aside() -> None:
    done = subprocess.run(["git", "check-ignore", "-q", "dvc.lock.damaged"], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
