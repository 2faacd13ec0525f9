"""What is recorded of each stage (dvc.lock, history, markers), and whether it holds for the config, code and data now.

`open_ledger` gives every stage its verdict; the other names read and write what is recorded.
"""

from pipeline.ledger import lockfile, markers
from pipeline.ledger.cache import Listings, absent_data, cached
from pipeline.ledger.config_sections import config_sections
from pipeline.ledger.entries import Entry, expected_entry, guards_in_step, params_now, recorded_hashes, recorded_outs
from pipeline.ledger.fingerprints import UNREADABLE, Fingerprints, bytes_hash, content_hash
from pipeline.ledger.history import History
from pipeline.ledger.identity import identity_of
from pipeline.ledger.ledger import Ledger, carry_lock_over, listed, open_ledger
from pipeline.ledger.lockfile import committed_lock, read_lock, write_entries
from pipeline.ledger.locking import WorkflowLock, dvc_lock
from pipeline.ledger.markers import NOTHING, write_marker
from pipeline.ledger.merging import merge_files
from pipeline.ledger.recording import recording_by_blocks
from pipeline.ledger.staleness import Action, Verdict, code_differences, differences, field_differences

__all__ = [
    "Action", "Entry", "Fingerprints", "History", "Ledger", "Listings", "NOTHING", "UNREADABLE", "Verdict",
    "WorkflowLock", "absent_data", "bytes_hash", "cached", "carry_lock_over", "code_differences", "committed_lock",
    "config_sections", "content_hash", "differences", "dvc_lock", "expected_entry", "field_differences",
    "guards_in_step", "identity_of", "listed", "lockfile", "markers", "merge_files", "open_ledger", "params_now",
    "read_lock", "recorded_hashes", "recorded_outs", "recording_by_blocks", "write_entries", "write_marker",
]  # fmt: skip
