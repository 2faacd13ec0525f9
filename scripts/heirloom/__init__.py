"""The library of the programs in scripts/. Where a library of theirs is not installed they end in one sentence."""

import sys
from types import TracebackType


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell an error that ends a program. What tells it is imported only then: a program that takes a token off its
    command line imports nothing slow before.
    """
    from heirloom.failures import tell_missing_library

    tell_missing_library(kind, error, trace)


sys.excepthook = tell
