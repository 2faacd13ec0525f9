"""What all tests share."""

import gc

import pytest

import heirloom.rank

heirloom.rank.allow(*heirloom.rank.OPTIONAL)  # tests of the library are no ranks: here nothing looks absent,
gc.enable()  # whichever modules were imported first

LONGEST = (
    "tests/image/test_image.py",
    "tests/end_to_end/*",
    "tests/sagemaker/test_chain_on_hosts.py",
    "tests/slurm/test_chain.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that with two workers neither waits for the other at the end."""
    items.sort(key=lambda item: not any(item.path.match(pattern) for pattern in LONGEST))
