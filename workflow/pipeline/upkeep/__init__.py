"""What people ask for by `make`, beside running stages."""

from pipeline.upkeep.accept import accept
from pipeline.upkeep.clean_cache import clean_cache, empty_trash
from pipeline.upkeep.clean_remote import clean_remote
from pipeline.upkeep.passed import Passed, passed_run
from pipeline.upkeep.trained import TrainedRun, trained_run
from pipeline.upkeep.upgrade import upgrade
from pipeline.upkeep.verify import verify

__all__ = [
    "Passed", "TrainedRun", "accept", "clean_cache", "clean_remote", "empty_trash", "passed_run", "trained_run",
    "upgrade", "verify",
]  # fmt: skip
