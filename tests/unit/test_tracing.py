"""Which line of a folder of generations is meant, and that any terminal shows where it comes from."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.tree import Tree

from heirloom.errors import HeirloomError
from pipeline.ledger.lockfile import write_entries
from pipeline.provenance.ancestry import Ancestry
from pipeline.provenance.contents import Contents
from pipeline.provenance.trace import find_line

ROWS = [{"row_id": row, "sample": sample} for row in ("t:1", "t:2") for sample in (0, 1)]


def test_a_row_a_sample_of_it_or_a_line():
    assert find_line(ROWS, "t:2", None, "generations/x") == find_line(ROWS, "t:2", 0, "generations/x") == 3
    assert find_line(ROWS, "t:2", 1, "generations/x") == 4
    assert find_line(ROWS, "2", None, "generations/x") == 2


@pytest.mark.parametrize(
    ("wanted", "sample", "message"),
    [
        ("t:2", 99, "generations/x has 2 answers to t:2: give --sample from 0"),
        ("2", 99, "--sample 99: line 2 is one answer by itself: leave --sample out"),
        ("5", None, "generations/x has no row 5: give a row_id, for example t:1, or a line from 1 to 4"),
    ],
)
def test_a_line_that_is_not_there_is_told(wanted, sample, message):
    with pytest.raises(HeirloomError, match=message):
        find_line(ROWS, wanted, sample, "generations/x")


def test_settings_that_stand_in_a_command_are_told_as_those_of_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    Path(".dvc").mkdir()
    out = {"path": "baselines/tiny-on-chats-01234567", "hash": "md5", "md5": "0" * 32 + ".dir"}
    command = """python scripts/launch.py torchrun scripts/inference.py --generation '{"stop_strings": ["a --b"]}'"""
    write_entries({"baseline-tiny-on-chats-01234567": {"cmd": f"{command} --output {out['path']}", "outs": [out]}})
    with Contents() as contents:
        artifact = Ancestry(contents).artifact(out["path"], out["md5"])
    assert artifact.config == {"in the command": {"generation": {"stop_strings": ["a --b"]}}}


@pytest.mark.parametrize("known", [True, False])
def test_a_terminal_of_few_characters_shows_what_it_can(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))
    import trace_generation

    def trace_row(*_) -> None:
        if not known:
            raise HeirloomError("no line → nothing to trace")

    monkeypatch.chdir(Path.cwd())  # the program goes to the repository's root
    monkeypatch.setattr(trace_generation, "trace_row", trace_row)
    monkeypatch.setattr(trace_generation, "trace_tree", lambda _: Tree("training.learning_rate 1e-5 → 2e-5"))
    monkeypatch.setattr(sys, "argv", ["trace_generation.py", "generations/x", "1"])
    shown = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, stream in shown.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding="ascii", write_through=True))
    with contextlib.nullcontext() if known else pytest.raises(SystemExit, match="^1$"):
        trace_generation.main()
    if known:
        assert shown["stdout"].getvalue() == b"training.learning_rate 1e-5 ? 2e-5\n"
    else:
        assert shown["stderr"].getvalue() == b"error: no line ? nothing to trace\n"
