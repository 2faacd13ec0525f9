"""From an artifact back to all that it was made from, and the same made again in a clean clone."""

from pipeline.provenance.clean_clone import CleanClone
from pipeline.provenance.origin import commits_that_recorded
from pipeline.provenance.reproduction import (
    Product,
    Reproduction,
    commit_of,
    reproduce,
    uncommitted_changes,
    with_new_code,
)
from pipeline.provenance.trace import trace_row
from pipeline.provenance.trace_tree import trace_tree

__all__ = [
    "CleanClone", "Product", "Reproduction", "commit_of", "commits_that_recorded", "reproduce", "trace_row",
    "trace_tree", "uncommitted_changes", "with_new_code",
]  # fmt: skip
