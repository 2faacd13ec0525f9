"""Warnings of libraries that alarm without cause are not shown; all others are."""

import importlib.util
import logging
from pathlib import Path

import pytest

from heirloom.rank import HARMLESS


@pytest.mark.parametrize("name", HARMLESS)
def test_only_the_harmless_warning_of_a_library_is_silent(caplog: pytest.LogCaptureFixture, name: str) -> None:
    logger = logging.getLogger(name)
    logger.warning("%s and more", HARMLESS[name])
    logger.warning("[RANK 1] %s and more", HARMLESS[name])  # accelerate.logging.MultiProcessAdapter
    logger.warning("something else: %s", HARMLESS[name])
    assert [record.getMessage() for record in caplog.records] == [f"something else: {HARMLESS[name]}"]


@pytest.mark.parametrize("name", HARMLESS)
def test_the_library_still_says_it_in_these_words(name: str) -> None:
    """An update that changes the words must be noticed; what is filled in is cut off."""
    package, _, rest = name.partition(".")
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    text = folder.joinpath(*rest.split(".")).with_suffix(".py").read_text()
    assert HARMLESS[name].removesuffix(" 1,") in text
