"""What all tests share."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that with two workers neither waits for the other at the end."""
    items.sort(key=lambda item: not item.path.match("tests/end_to_end/*"))
