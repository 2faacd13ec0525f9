"""hadolint and shellcheck find nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from working_tree import working_tree

REPOSITORY = Path(__file__).resolve().parents[2]


def program(name: str) -> str:
    """Return a linter of this environment; it comes with the development packages."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: make .venv/development")
    return found


def shell_scripts() -> list[str]:
    """Return every file of the repository that begins with a shell's name."""
    return [name for name in working_tree() if (REPOSITORY / name).is_file() and is_shell(REPOSITORY / name)]


def is_shell(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.readline().rstrip() in (b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash")


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(
        [program("hadolint"), "docker/Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_nothing_in_any_shell_script() -> None:
    scripts = shell_scripts()
    assert {"docker/build_push_image.sh", "docker/bin/train", "docker/build/compile_torch.sh"} <= set(scripts)
    done = subprocess.run(
        [program("shellcheck"), *scripts], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
