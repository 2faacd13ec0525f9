"""`make audit` never says that all is well of what it has not seen.

The program is a stand-in that answers as pip-audit 2.10.1 was seen to do: where PyPI's advisories cannot be reached it
calls each package unknown, says "No known vulnerabilities found" and ends with 0.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import audit

LOCK = """# a comment
One_Package==1.0
two==2.0 ; sys_platform == 'win32'
three==3.0 ; python_full_version >= '3.8'
four==4.0 \\
    --hash=sha256:aa
"""
FINE = {
    name: {"version": version, "vulns": []}
    for name, version in (("one-package", "1.0"), ("three", "3.0"), ("four", "4.0"))
}
HOLE = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.1"]}
SKIPPED = {"skip_reason": "Dependency not found on PyPI and could not be audited: three (3.0)"}


def audited(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int = 0) -> tuple[int, list[str]]:
    """Return the exit code and what the program was asked."""
    (folder / "answer").write_text(answer)
    program, lock = folder / "pip-audit", folder / "lock.txt"
    asked = f'for last; do :; done; cp "$last" "{folder}/asked"'
    program.write_text(f'#!/bin/sh\n{asked}\ncat "{folder}/answer"\necho "the last word" >&2\nexit {code}\n')
    program.chmod(0o755)
    lock.write_text(LOCK)
    monkeypatch.setattr(audit, "PROGRAM", program)
    return audit.main([str(lock)]), (folder / "asked").read_text().split()


def told(**changes) -> str:
    answers = {**FINE, **{name.replace("_", "-"): change for name, change in changes.items()}}
    return json.dumps({"dependencies": [{"name": name, **answer} for name, answer in answers.items() if answer]})


CASES = {
    "none": (told(), 0, 0),
    "a hole": (told(three={"version": "3.0", "vulns": [HOLE]}), 1, 1),
    "one not looked up": (told(three=SKIPPED), 0, 3),
    "one left out": (told(four=None), 0, 3),
    "another version": (told(four={"version": "4.1", "vulns": []}), 0, 3),
    "a hole and one not looked up": (told(three={"version": "3.0", "vulns": [HOLE]}, four=SKIPPED), 1, 1),
    "no answer": ("", 1, 3),
    "another answer": ("[]", 0, 3),
    "a page": ("<html>", 0, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_the_exit_code_says_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, name: str) -> None:
    answer, code, expected = CASES[name]
    found, asked = audited(tmp_path, monkeypatch, answer, code)
    assert found == expected
    assert asked == ["four==4.0", "one-package==1.0", "three==3.0"]
    said = capsys.readouterr()
    assert ("were not looked up" in said.err) == ("one not" in name or expected == 3)
    assert ("three 3.0: PYSEC-1, CVE-1; mended in 3.1" in said.out) == ("hole" in name)


def test_without_the_program_or_a_package_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PROGRAM", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert audit.main([]) == 3
    (tmp_path / "empty.txt").write_text("# nothing\n")
    monkeypatch.setattr(audit, "PROGRAM", Path(sys.executable))
    assert audit.main([str(tmp_path / "empty.txt")]) == 3


def test_two_versions_of_one_package_are_asked_apart() -> None:
    assert audit.batches([("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")]) == [{"a": "1", "b": "1"}, {"a": "2"}]


def test_every_lock_is_read_and_the_auditors_own_has_hashes() -> None:
    for lock in (audit.REPOSITORY / "envs").glob("*.txt"):
        lines = [line for line in lock.read_text().splitlines() if line and not line.startswith(("#", " "))]
        assert len(lines) == sum(bool(audit.PINNED.match(line)) for line in lines) > 20, lock
    text = (audit.REPOSITORY / "envs/audit.txt").read_text()
    assert all("--hash=sha256:" in part for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:])
    pinned = dict(audit.pinned(audit.REPOSITORY / "envs/audit.txt"))
    project = (audit.REPOSITORY / "pyproject.toml").read_text()
    assert f'audit = ["pip-audit=={pinned["pip-audit"]}"]' in project


def test_what_is_locked_has_hashes() -> None:
    """One that is missing would stop the installation of everybody."""
    envs = audit.REPOSITORY / "envs"
    blocks = re.split(r"^(?=\w)", (envs / "hashes/locked.txt").read_text(), flags=re.MULTILINE)[1:]
    hashed = {block.split("\n")[0].removesuffix(" \\") for block in blocks}
    locked = {
        line
        for name in ("workflow", "training", "development", "harness", "serve")
        for line in (envs / f"{name}.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    assert hashed == locked
    for block in [*blocks, (envs / "hashes/installer.txt").read_text()]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}$", block, re.MULTILINE), block
    (installer,) = audit.pinned(envs / "hashes/installer.txt")
    assert f'installer = ["{installer[0]}=={installer[1]}"]' in (audit.REPOSITORY / "pyproject.toml").read_text()


def test_the_exit_code_is_that_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    command = [sys.executable, audit.__file__, str(tmp_path / "empty.txt")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 3
