"""What is recorded of each stage (dvc.lock, history, markers), and whether it holds for the config, code and data now.

`open_ledger` gives every stage its verdict; the other names read and write what is recorded.
"""

from pipeline.ledger import lockfile, markers
from pipeline.ledger.cache import Listings, absent_data, cache_folder, cached, object_path
from pipeline.ledger.config_sections import config_sections
from pipeline.ledger.entries import Entry, expected_entry, recorded_outs
from pipeline.ledger.fingerprints import Fingerprints, bytes_hash, content_hash, files_below
from pipeline.ledger.history import History
from pipeline.ledger.identity import identity_of
from pipeline.ledger.ledger import Ledger, open_ledger
from pipeline.ledger.lockfile import committed_lock, read_lock, write_entries
from pipeline.ledger.locking import WorkflowLock, dvc_lock
from pipeline.ledger.markers import NOTHING, write_marker
from pipeline.ledger.merging import merge_files
from pipeline.ledger.recording import recording_by_blocks
from pipeline.ledger.staleness import Action, Verdict, differences, field_differences

__all__ = [
    "Action", "Entry", "Fingerprints", "History", "Ledger", "Listings", "NOTHING", "Verdict", "WorkflowLock",
    "absent_data", "bytes_hash", "cache_folder", "cached", "committed_lock", "config_sections", "content_hash",
    "differences", "dvc_lock", "expected_entry", "field_differences", "files_below", "identity_of", "lockfile",
    "markers", "merge_files", "object_path", "open_ledger", "read_lock", "recorded_outs",
    "recording_by_blocks", "write_entries", "write_marker",
]  # fmt: skip
