"""The library of the programs in scripts/. Where a library of theirs is not installed they end in one sentence."""

import sys

from heirloom.failures import tell_missing_library

sys.excepthook = tell_missing_library
