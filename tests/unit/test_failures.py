"""heirloom.failures: what libraries raise for want of memory, disk or an answer, told in one sentence."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heirloom.errors import HeirloomError
from heirloom.failures import ends_in_one_sentence, sentence_of

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def raised(function) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  its kind is what the tests are about
        function()
    return caught.value


def test_memory():
    for error, said in (
        (raised(lambda: torch.empty(1 << 48)), "rank 0 ran out of memory (it asked for 1,125,899.91 GB): a training"),
        (raised(lambda: bytes(1 << 62)), "rank 0 ran out of memory: a training needs less with gradient_checkpointing"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "rank 0 ran out of memory: "),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of"),
            "rank 0 ran out of GPU memory (it asked for 20.00 GiB): ",
        ),
    ):
        assert sentence_of(error).startswith(said)


def test_disk(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "shard"))
    assert sentence_of(full).startswith(f"{tmp_path} could not be written to: ")

    def save():
        try:
            raise full
        finally:
            raise ValueError("while closing")

    assert sentence_of(raised(save)).startswith(f"{tmp_path} could not be written to: ")
    monkeypatch.setenv("HEIRLOOM_WORK_DIR", str(tmp_path))
    unnamed = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
    assert "could not be written to: " in sentence_of(unnamed)


def test_what_a_user_may_not_do():
    for number, said in ((errno.EACCES, "this user may not"), (errno.EROFS, "can only be read")):
        sentence = sentence_of(OSError(number, os.strerror(number), "reports/index.html"))
        assert sentence.startswith("reports/index.html: ") and said in sentence
    assert sentence_of(OSError(errno.EACCES, "socket")) is None


def test_what_is_none_of_these_keeps_its_trace():
    assert sentence_of(KeyError("input_ids")) is None
    assert sentence_of(RuntimeError("Connection closed by peer")) is None


def test_a_library_that_is_not_installed_is_one_sentence_and_all_else_keeps_its_trace(tmp_path):
    """What another library misses, a part that a library does not have, and one that only looks absent to a rank."""
    (tmp_path / "library.py").write_text("import absent_from_everywhere\n")
    begin = f"import sys; sys.path[:0] = [{str(SCRIPTS)!r}, {str(tmp_path)!r}]; import heirloom"
    told = {}
    for line in ("absent_from_everywhere", "library", "heirloom.absent", "email.absent", "peft"):
        code = f"compile('import {line}', {str(SCRIPTS / 'program.py')!r}, 'exec')"
        program = f"{begin}; sys.modules['peft'] = None; exec({code})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        told[line] = done.stderr
    assert told.pop("absent_from_everywhere").startswith("error: absent_from_everywhere is not installed in ")
    assert {text.splitlines()[0] for text in told.values()} == {"Traceback (most recent call last):"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HeirloomError("a.yaml: no \x1b[31m such run"), r"error: serving x: a.yaml: no \x1b[31m such run"),
        (MemoryError(), "error: serving x: rank 0 ran out of memory: "),
        (PermissionError(13, "Permission denied", "a"), "error: serving x: a: this user may not read or write"),
    ],
)
def test_a_program_that_is_no_stage_ends_in_one_sentence(capsys, error, said):
    with pytest.raises(SystemExit) as end, ends_in_one_sentence("serving x"):
        raise error
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(said)


def test_what_nobody_expected_keeps_its_trace_there_too():
    for error in (KeyError("x"), RuntimeError("Connection closed by peer")):
        with pytest.raises(type(error)), ends_in_one_sentence():
            raise error


def test_a_script_says_the_sentence_below_the_trace(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.append({str(SCRIPTS)!r})\nfrom heirloom import stage\n")
    with script.open("a") as file:
        file.write("stage.run(lambda: bytes(1 << 62))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" in done.stderr and "MemoryError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: rank 0 ran out of memory: ")
