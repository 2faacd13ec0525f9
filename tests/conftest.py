"""What all tests share."""

import gc
import os
import signal
import sys
from collections import Counter

import pytest

import heirloom.rank

# tests of the library are no ranks: here nothing looks absent, whichever modules were imported first; and garbage is
# collected again, once everything is imported (pytest_collection_modifyitems)
heirloom.rank.allow(*heirloom.rank.OPTIONAL)

# a clone's modules are compiled once, not at each of the thousand starts of its programs
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# a shell that starts the suite in its background lets it ignore Ctrl-C, and so would all programs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "tests/image/test_image.py",
    "tests/end_to_end/test_demo.py",
    "tests/sagemaker/test_chain_on_hosts.py",
    "tests/slurm/test_chain.py",
    "tests/training/test_methods.py",
    "tests/contract/test_contract.py",
    "tests/training/test_interruption.py",
    "tests/end_to_end/test_tutorial.py",
)
"""What takes longest begins first, so that no worker is left alone with it at the end."""
SHOWN = 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gc.freeze()  # as ranks do: what imports made lives to the end, and is looked through no more
    gc.enable()
    if "torch" in sys.modules:  # threads that wait for each other on cores that are shared anyway cost twice the time
        sys.modules["torch"].set_num_threads(1)
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(LONGEST)))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Say as the very last where the time went: the slowest files, with what was made for them."""
    terminalreporter = config.pluginmanager.get_plugin("terminalreporter")
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values() if terminalreporter else ():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if not seconds:
        return
    terminalreporter.section(f"slowest {SHOWN} files of {len(seconds)}, {sum(seconds.values()):.0f} s in all")
    for file, spent in seconds.most_common(SHOWN):
        terminalreporter.write_line(f"{spent:7.1f} s  {file}")
