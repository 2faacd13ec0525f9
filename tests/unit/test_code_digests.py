"""pipeline.code: which edits of code are a change, and entries of an earlier version in the form of today."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from pipeline.code import Same, carry_over, equal_entries, kept_listing, same_of
from pipeline.code.changes import changes_between, not_executed
from pipeline.code.combinations import combination
from pipeline.code.syntax import syntax_digest
from pipeline.graph import Graph, Stage
from pipeline.ledger import History, identity_of, read_lock
from pipeline.provenance.trace_tree import how_known

EARLIER = Path(__file__).parent / "earlier_versions/dvc.lock"
CODE = '''\
"""Words."""
import os  # a comment


class Place:
    """More words."""

    limit = 0.00001
    """What it is."""

    def name(self, *, long=(1, 2), **rest: int) -> str:
        text = 'a' "b" f"{long!r:>{os.sep}} {rest}" f'{self}'
        return (text if long else
                b"\\x00")
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""Words."""\n', "", True),
        ("  # a comment", "\n\n\n", True),
        ('    """More words."""\n', "", True),
        ('"""What it is."""', '"""What else."""', True),
        ("0.00001", "1e-5", True),
        ("""'a' "b" f\"""", """"ab" f\"""", True),
        ("(text if long else\n                b", "(text if long else b", True),
        ("0.00001", "1e-6", False),
        ("0.00001", '"0.00001"', False),
        ("*, long", "long", False),
        ("!r", "!s", False),
        ("{rest}", "{rest} ", False),
        ("import os", "import os as os_", False),
    ],
)
def test_what_python_does_not_execute_is_no_change(old: str, new: str, same: bool) -> None:
    assert old in CODE
    assert (syntax_digest(CODE.encode()) == syntax_digest(CODE.replace(old, new).encode())) is same


def test_a_digest_is_the_same_in_every_version_of_python() -> None:
    """It is recorded, and a colleague's Python may be another one: `ast.dump` would differ between 3.12 and 3.13."""
    assert syntax_digest(CODE.encode()) == "e6d98e2669bc21dafe6b23a1d5ef1971"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / ".dvc").mkdir()
    return tmp_path


def test_an_entry_of_an_earlier_version_is_carried_over_with_its_result(place: Path) -> None:
    """The lock was written when an entry named each module of its code; the history knows results by that form."""
    entry = read_lock(EARLIER)["model-tiny"]
    stage = Stage("model", "tiny", entry["cmd"], program="scripts/create_model.py")
    carried = carry_over(Graph({stage.name: stage}), {stage.name: entry})
    known, new = carried.known, carried.entries[stage.name]
    assert [dep["path"] for dep in new["deps"]] == ["tokenizers/tiny", "workflow/code/create_model.txt"]
    assert new["outs"] == entry["outs"] and new["params"] == entry["params"]
    modules = {dep["path"]: dep["md5"] for dep in entry["deps"] if dep["path"].endswith(".py")}
    assert kept_listing(new["deps"][1]["md5"]) == modules  # whose bytes are nowhere here, so they count as changed
    history = History()
    history.add({stage.name: entry}, {stage.name: {}})
    assert not history.executed(stage.name, new)
    history.add_same(known)
    assert History().executed(stage.name, new)
    assert [found["outs"] for found in History().find(stage.name, new)] == [entry["outs"]]
    (same,) = History().accepted_by(stage.name, new)
    assert how_known(same.proof).startswith("known to an earlier version: ")


def test_what_is_the_same_is_found_both_ways_and_over_several_steps() -> None:
    def entry(code: str, rate: float = 1.0) -> dict:
        deps = [{"path": "workflow/code/train.txt", "hash": "md5", "md5": hashlib.md5(code.encode()).hexdigest()}]
        params = {"config/runs/a.yaml": {"training": {"learning_rate": rate, "optim": "adamw_torch"}}}
        command = "python scripts/launch.py torchrun scripts/train.py --config config/runs/a.yaml --output x"
        return {"cmd": command, "deps": deps, "params": params, "outs": [{"path": "x"}]}

    def same(one: str, two: str) -> Same:
        values = tuple(entry(code)["deps"][0]["md5"] for code in (one, two))
        return Same({"workflow/code/train.txt": values}, combinations=frozenset([combination("train-a", entry(one))]))

    known = [same_of(each.as_row()) for each in (same("1", "2"), same("2", "3"))]
    for here, there in (("3", "1"), ("1", "3")):
        found = {identity_of(each): way for each, way in equal_entries("train-b", entry(here, 2.0), known)}
        assert len(found[identity_of(entry(there, 2.0))]) == 2
    other = entry("3") | {"params": {"config/runs/a.yaml": {"training": {"optim": "adafactor"}}}}
    assert len(list(equal_entries("train-a", other, known))) == 1  # another combination


BEFORE = {
    "scripts/p.py": b"from heirloom.errors import plain\nLIMIT = 1\ndef main(x):\n    if x:\n        return plain(x)\n"
    b"    return LIMIT\n",
    "scripts/heirloom/errors.py": b"import re\ndef plain(text):\n    return re.sub('a', 'b', text)\n"
    b"def other():\n    pass\n",
}


def changed(*edits: tuple[str, str], move: str | None = None) -> tuple[list[str], dict[str, str]]:
    """Return what must have been executed after edits of all modules, and the names that were changed."""
    after = {path: text.decode() for path, text in BEFORE.items()}
    for old, new in edits:
        assert any(old in text for text in after.values())
        after = {path: text.replace(old, new) for path, text in after.items()}
    if move:
        after[move] = after.pop("scripts/heirloom/errors.py")
    found = changes_between(BEFORE, {path: text.encode() for path, text in after.items()})
    return [each.place for each in found.after], found.renamed


def test_only_what_differs_to_python_has_to_be_executed() -> None:
    assert changed() == ([], {})
    assert changed(("return re", "return  re"))[0] == []
    assert changed(("'b'", "'c'"))[0] == ["scripts/heirloom/errors.py:3"]
    assert changed(("main(x)", "main(x, y=1)"))[0] == ["scripts/p.py:3", "scripts/p.py:4"]
    assert changed(("LIMIT = 1", "LIMIT = 2"))[0] == ["scripts/p.py:2", "scripts/p.py:6"]
    own = {"scripts/q.py": b"def f(LIMIT):\n    return LIMIT\n"}  # a variable of another module's own
    after = {path: text.replace(b"LIMIT = 1", b"LIMIT = 2") for path, text in BEFORE.items()}
    assert len(changes_between(BEFORE | own, after | own).after) == 2


def test_a_name_that_is_changed_everywhere_is_no_change() -> None:
    assert changed(("plain", "as_plain")) == ([], {"'plain'": "'as_plain'"})
    moved = changed(("heirloom.errors", "heirloom.mistakes"), move="scripts/heirloom/mistakes.py")
    assert moved == ([], {"'heirloom.errors'": "'heirloom.mistakes'"})
    places, renamed = changed(("plain(x)", "other(x)"))  # another function, which was there before
    assert places == ["scripts/p.py:5"] and renamed == {}
    lookup = ("re.sub('a'", "getattr(re, 'plain')('a'")  # a text could still look the old one up
    assert changed(("plain", "as_plain"), lookup)[1] == {}
    local = {"scripts/q.py": b"def f(plain):\n    return plain\n"}  # a variable of another module's own
    after = {path: text.replace(b"plain", b"as_plain") for path, text in BEFORE.items()}
    assert changes_between(BEFORE | local, after | local).after == []


def test_a_statement_counts_as_executed_by_any_line_of_its_head() -> None:
    wanted = changes_between({}, {"scripts/a.py": b"x = (\n  1\n)\nif x:\n  y = 2\n"}).after
    assert [each.place for each in not_executed(wanted, {"scripts/a.py": {2, 4}})] == ["scripts/a.py:5"]


@pytest.mark.parametrize(
    ("command", "one", "other"),
    [
        ("torchrun scripts/score_base.py --metric {} --checkpoint models/a", "perplexity", "preference"),
        ("torchrun scripts/score_reference.py --trainer {} --base models/a", "dpo", "kto"),
    ],
)
def test_a_way_that_a_flag_chooses_proves_no_other(command, one, other):
    """Small stages of both were one combination, of which one alone was executed."""
    found = [
        combination("scores-a", {"cmd": f"python scripts/launch.py {command.format(way)}"}) for way in (one, other)
    ]
    assert found[0] != found[1] and f"={one}" in found[0]
