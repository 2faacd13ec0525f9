"""The parts of workflow/pipeline that must agree with DVC to the letter are compared with DVC itself."""

import copy
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.stage.cache import _get_stage_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dumps_yaml

from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import out_record
from pipeline.execution.restore import put_in_place
from pipeline.graph import Graph, Stage, dvcfile
from pipeline.ledger import config_sections, lockfile, recording_by_blocks
from pipeline.ledger.cache import cached
from pipeline.ledger.fingerprints import Fingerprints, bytes_hash
from pipeline.ledger.identity import identity_of
from pipeline.ledger.lockfile import DamagedLockError, read_lock, write_entries
from pipeline.ledger.merging import merge_files
from pipeline.ledger.staleness import differences
from pipeline.provenance.origin import commits_that_recorded

ENTRY = {
    "cmd": "python scripts/x.py --name 'a b'",
    "deps": [{"path": "scripts/x.py", "hash": "md5", "md5": "d41d8cd98f00b204e9800998ecf8427e", "size": 0}],
    "params": {"config/runs/a.yaml": {"training": {"learning_rate": 1e-05, "text": "yes", "list": [1, None, True]}}},
    "outs": [
        {"path": "checkpoints/a", "hash": "md5", "md5": "d41d8cd98f00b204e9800998ecf8427e.dir", "size": 1, "nfiles": 2}
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of DVC's in which one stage with parameters has run. Copy it; do not change it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "params.yaml").write_text("training: {rate: 1e-5, size: 3}\n")
    (folder / "raw/deep").mkdir(parents=True)
    (folder / "raw/b.txt").write_text("b")
    (folder / "raw/deep/a.txt").write_text("a")
    (folder / "raw/a.txt").write_text("a")
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "stage", "add", "-q", "-n", "copy", "-d", "raw", "-p", "training", "-o", "out", "-M",
         "m.json", "cp -r raw out && echo '{\"x\": 1}' > m.json"],
        ["dvc", "repro", "-q"],
    ):  # fmt: skip
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` to work in."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True))
    return tmp_path


def test_hashes_of_files_and_folders_are_dvcs(repository: Path) -> None:
    entry = read_lock()["copy"]
    recorded = {item["path"]: item["md5"] for item in (*entry["deps"], *entry["outs"])}
    with Fingerprints() as fingerprints:
        assert {path: fingerprints.of(path) for path in recorded} == recorded
    assert {path: bytes_hash(path) for path in recorded} == recorded
    assert [out_record(out["path"]) for out in entry["outs"]] == entry["outs"]
    assert cached(recorded["out"], Path(".dvc/cache/files/md5"), {})


def test_files_whose_names_sort_otherwise_than_their_folders_are_hashed_as_dvc_does(repository: Path) -> None:
    for name in (
        "train-prompts.npy",
        "train/part.arrow",
        "train.json",
        "train/a b/é",
        "Train",
        "train0/x",
    ):
        file = Path("odd", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    with Fingerprints() as fingerprints:
        assert fingerprints.of("odd") == bytes_hash("odd")


def test_an_edit_in_place_is_seen_and_a_touch_is_not(repository: Path) -> None:
    with Fingerprints() as fingerprints:
        before = fingerprints.of("out")
    Path("out/a.txt").touch()
    with Fingerprints() as fingerprints:
        assert fingerprints.of("out") == before
    Path("out/a.txt").write_text("z")
    with Fingerprints() as fingerprints:
        assert fingerprints.of("out") != before


def recorded_stage(entry: dict) -> Stage:
    """Return the stage of the repository as the graph would describe it."""
    params = {"params.yaml": ("training",)}
    return Stage("copy", "raw", entry["cmd"], files=("raw",), params=params, outs=("out",), metrics=("m.json",))


def test_a_stage_differs_by_command_code_config_and_inputs(repository: Path) -> None:
    """One change at a time, each told by its name; without one, the entry that DVC wrote holds."""
    entry = read_lock()["copy"]
    stage = recorded_stage(entry)

    def found(stage: Stage = stage) -> list[str]:
        with Fingerprints() as fingerprints:
            return differences(stage, entry, fingerprints.of, config_sections())

    assert found() == []
    assert found(replace(stage, cmd=f"{stage.cmd} --seed 1")) == ["command: --seed absent → 1"]
    assert found(replace(stage, files=("params.yaml", "raw"))) == ["params.yaml is a new input"]
    assert found(replace(stage, files=())) == ["raw is no longer an input"]
    assert found(replace(stage, metrics=())) == ["makes out instead of m.json, out"]
    Path("params.yaml").write_text("training: {rate: 2e-5, size: 3}  # and a comment\n")
    assert found() == ["training.rate 1e-05 → 2e-05"]
    Path("params.yaml").write_text("training: {size: 3, rate: 0.00001}\n")
    assert found() == []
    Path("raw/b.txt").write_text("c")
    assert found() == ["raw changed"]
    shutil.rmtree("raw")
    assert found() == ["raw is missing"]
    assert differences(stage, None, lambda path: None, config_sections()) == ["never run"]


def test_a_result_is_put_in_place_from_wherever_it_still_is(repository: Path, tmp_path_factory, capsys) -> None:
    remote = tmp_path_factory.mktemp("remote")
    for command in (["dvc", "remote", "add", "-q", "-d", "storage", str(remote)], ["dvc", "push", "-q"]):
        subprocess.run(command, check=True)
    entry = read_lock()["copy"]
    cache = Path(".dvc/cache/files")

    def out() -> dict[str, str]:
        return {str(path): path.read_text() for path in Path("out").rglob("*") if path.is_file()}

    made = out()
    shutil.rmtree("out")
    assert put_in_place("copy", entry, ["out"]) and out() == made  # from the cache
    Path("out/b.txt").chmod(0o644)
    Path("out/b.txt").write_text("edited")
    assert put_in_place("copy", entry, ["out"]) and out() == made
    shutil.rmtree(cache)
    shutil.rmtree("out")
    assert put_in_place("copy", entry, ["out"]) and out() == made  # from the remote
    shutil.rmtree(cache)
    shutil.rmtree(remote)
    assert put_in_place("copy", entry, ["out"]) and out() == made  # only the working tree has it
    (value,) = (item["md5"] for item in entry["outs"] if item["path"] == "out")
    assert cached(value, cache / "md5", {})  # and now the cache has it again
    shutil.rmtree(cache)
    shutil.rmtree("out")
    capsys.readouterr()
    assert not put_in_place("copy", entry, ["out"])  # nowhere
    assert "copy: its recorded result could not be restored: " in capsys.readouterr().err


def test_an_artifact_leads_to_the_commit_that_recorded_it(repository: Path, tmp_path_factory) -> None:
    """A copy that lies elsewhere is known by its content, also after the ledger has moved on."""
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message"]
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "downloaded"
    shutil.copytree("out", elsewhere)
    for subject in ("the first", "the second"):
        subprocess.run(["git", "add", "dvc.lock"], check=True)
        subprocess.run([*commit, subject], check=True)
        Path("raw/a.txt").write_text("changed")
        subprocess.run(["dvc", "repro", "-q"], check=True)
    (first,) = commits_that_recorded(elsewhere)
    assert first.endswith("the first") and len(first.split()[0]) == 12
    (second,) = commits_that_recorded(Path("out"))
    assert second.endswith("the second")
    (elsewhere / "a.txt").write_text("edited")
    assert commits_that_recorded(elsewhere) == []
    with pytest.raises(HeirloomError, match="nothing: there is no such file or folder"):
        commits_that_recorded(Path("nothing"))


def test_the_identity_is_the_key_of_dvcs_run_cache(repository: Path) -> None:
    with Repo() as repo:
        stage = repo.stage.load_one(name="copy")
        stage.save_deps()
        key = _get_stage_hash(stage)
        assert identity_of(to_single_stage_lockfile(stage)) == key
    assert identity_of(read_lock()["copy"]) == key


def test_entries_are_written_as_dvc_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = copy.deepcopy(ENTRY) | {"cmd": "python " + "x" * 300}
    write_entries({"train-a": ENTRY})
    write_entries({"train-b": other})
    assert Path("dvc.lock").read_text() == dumps_yaml({"schema": "2.0", "stages": {"train-a": ENTRY, "train-b": other}})
    assert read_lock() == {"train-a": ENTRY, "train-b": other}
    write_entries({"train-a": None})
    assert read_lock() == {"train-b": other}
    for length in range(60, 90):  # where a long line is broken depends on its depth
        entry = ENTRY | {"cmd": f"python {'x' * length} {'y' * 20} --flag value"}
        write_entries({"train-b": entry})
        assert Path("dvc.lock").read_text() == dumps_yaml({"schema": "2.0", "stages": {"train-b": entry}}), length


def test_a_name_that_yaml_would_break_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ruamel breaks a long line after a tab and loses the place: the name came back with a space in it."""
    monkeypatch.chdir(tmp_path)
    path = 'config/it\'s {a} #1 of "$(touch made)" ${HOME} {params.force} \\$x\t; touch made'
    odd = copy.deepcopy(ENTRY) | {"deps": [{**ENTRY["deps"][0], "path": path}]}
    write_entries({"train-a": odd, "train-b": ENTRY})
    assert read_lock() == {"train-a": odd, "train-b": ENTRY}


ODD_VALUES = """\
odd: {text: 'yes', number: '1e5', none: null, list: [1, [2.0, 1.0e-05]], empty: {}, 'a: b': "# no"}
words: "%s"
lines: |
  {%% for message in messages %%}

    é ☃ 'quoted' "twice"
"""


def test_dvc_in_this_process_records_the_bytes_that_it_writes_elsewhere(repository: Path) -> None:
    """In a lock of DVC's, in one that somebody wrote into, in none."""
    Path("odd.yaml").write_text(ODD_VALUES % ("word " * 60))
    for name in ("early", "late"):
        command = f"cp odd.yaml {name}.txt # {'long ' * 40}"
        words = ["-n", name, "-d", "raw", "-p", "odd.yaml:odd,words,lines", "-o", f"{name}.txt", command]
        subprocess.run(["dvc", "stage", "add", "-q", *words], check=True)
    lock = Path("dvc.lock")
    start = lock.read_text()

    def recorded(before: str) -> str:
        lock.write_text(before)
        if not before:
            lock.unlink()
        with Repo() as repo:
            for target in ("early", "late", "early"):
                repo.reproduce(target, single_item=True, force=True)
        return lock.read_text()

    for before in (start, f"# by hand\n{start}", ""):
        wanted = recorded(before)
        old = Path("old")
        old.unlink(missing_ok=True)
        old.hardlink_to(lock)
        with recording_by_blocks():
            assert recorded(before) == wanted
        written_in_place = old.samefile(lock)
        assert written_in_place == ("by hand" in before)


def test_only_changed_blocks_are_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_entries({"train-a": ENTRY, "train-b": ENTRY})
    read_lock()
    parsed = []
    monkeypatch.setattr(lockfile, "parse_block", lambda block: parsed.append(block) or {"train-b": ENTRY})
    write_entries({"train-b": ENTRY | {"cmd": "changed"}})
    read_lock()
    assert len(parsed) == 1
    assert "changed" in parsed[0]


@pytest.mark.parametrize("cut", [10, 100, 300])
def test_a_lock_cut_short_is_told_from_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.chdir(tmp_path)
    write_entries({"train-a": ENTRY, "train-b": ENTRY})
    text = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(text[:cut])
    with pytest.raises(DamagedLockError, match="dvc.lock"):
        read_lock()


DVC_AT_WORK = """
import sys, time
from pathlib import Path
from dvc.repo import Repo

with Repo().lock:
    Path("dvc.lock").write_text(sys.argv[1])
    Path("begun").touch()
    while not Path("go on").exists():
        time.sleep(0.01)
    Path("dvc.lock").write_text(sys.argv[2])
    Path("ended").touch()
    time.sleep(float(sys.argv[3]))
"""


def dvc_at_work(*words: str) -> subprocess.Popen:
    """Start a process that holds DVC's lock with the first text in dvc.lock and, told to go on, writes the second."""
    process = subprocess.Popen([sys.executable, "-c", DVC_AT_WORK, *words])
    while not Path("begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_a_lock_that_dvc_is_rewriting_is_read_when_it_is_whole(repository: Path) -> None:
    entries = read_lock()
    text = Path("dvc.lock").read_text()
    half = text[: text.index("outs:")]
    with dvc_at_work(half, text, "0"):
        threading.Timer(0.5, Path("go on").touch).start()
        assert read_lock() == entries
        assert Path("ended").exists()


def test_a_lock_is_read_while_dvc_transfers_data_for_long(repository: Path) -> None:
    entries = read_lock()
    text = Path("dvc.lock").read_text()
    Path("go on").touch()
    with dvc_at_work(text, text, "600") as process:
        assert read_lock() == entries
        assert process.poll() is None
        process.kill()


def test_locks_of_two_branches_are_united(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base, ours, theirs = Path("base"), Path("ours"), Path("theirs")
    gone, kept = ENTRY | {"cmd": "gone"}, ENTRY | {"cmd": "kept"}
    write_entries({"a": ENTRY, "gone": gone, "same": kept}, base)
    write_entries({"a": ENTRY, "gone": gone, "same": kept, "mine": kept}, ours)
    write_entries({"a": ENTRY | {"cmd": "newer"}, "same": kept, "yours": kept}, theirs)
    merge_files(base, ours, theirs)
    assert read_lock(ours) == {"a": ENTRY | {"cmd": "newer"}, "mine": kept, "same": kept, "yours": kept}


def test_a_stage_that_is_not_there_is_told_with_those_that_are() -> None:
    graph = Graph({"train-sft": Stage("train", "sft", "")})
    for name, hint in (("train-stf", "did you mean train-sft?"), ("nowhere", "there are: train-sft")):
        with pytest.raises(HeirloomError, match=f"^no stage is called {name}; {re.escape(hint)}"):
            graph.stage(name)


def test_artifacts_of_two_branches_are_merged_as_their_stages_are(tmp_path: Path) -> None:
    """They stand before the stages in dvc.yaml, and must not become stages."""

    def text(*names: str) -> str:
        artifacts = "".join(f"  {name}:\n    path: checkpoints/{name}\n    type: model\n" for name in names)
        stages = "".join(f"  gate-{name}:\n    cmd: {name}\n" for name in names)
        return dvcfile.HEADER + (f"artifacts:\n{artifacts}" if names else "") + f"stages:\n  a:\n    cmd: a\n{stages}"

    for base, ours, theirs, merged in (
        ((), ("b",), ("c",), ("b", "c")),
        ((), (), ("c",), ("c",)),
        (("b",), ("b",), (), ()),
        (("b", "c"), ("c",), ("b", "c"), ("c",)),
        ((), ("b-stages",), ("c",), ("b-stages", "c")),
    ):
        files = [tmp_path / name for name in ("base", "ours", "theirs")]
        for file, names in zip(files, (base, ours, theirs), strict=True):
            file.write_text(text(*names))
        merge_files(*files)
        assert files[1].read_text() == text(*merged)
        assert list(dvcfile.blocks_of(files[1].read_text())) == ["a", *(f"gate-{name}" for name in merged)]


def test_what_git_hands_over_to_be_merged_may_be_missing_or_odd(tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("schema: '2.0'\nstages:\n")
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    for other in ("nowhere", "odd", "."):
        with pytest.raises(HeirloomError, match=f"^{re.escape(str(tmp_path / other))} cannot be merged: "):
            merge_files(tmp_path / "ours", tmp_path / "ours", tmp_path / other)
    assert (tmp_path / "ours").read_text() == "schema: '2.0'\nstages:\n"
