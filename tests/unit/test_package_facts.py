"""A rank reads what installed packages say of themselves once."""

import importlib.metadata

import pytest
from accelerate.utils.imports import is_deepspeed_available, is_peft_available

import heirloom.rank  # noqa: F401  it remembers


def test_what_accelerate_asks_at_each_step_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_deepspeed_available() and is_peft_available()
    version = importlib.metadata.version("torch")

    def read_again(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", read_again)
    assert is_deepspeed_available() and is_peft_available()
    assert importlib.metadata.version("torch") == version


def test_a_package_that_is_not_there_is_told_each_time() -> None:
    for _ in range(2):
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version("no-package-of-this-name")
