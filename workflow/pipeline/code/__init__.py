"""What a program's code is: a digest of its syntax, so that comments, docstrings and formatting are no change.

`code_hash` is what stands for the code of a program in the entries of its stages; `bring_in_step` writes the files.
`Same` says of two states of the code that they give one result, `changes_between` what differs between them.
"""

from pipeline.code.carried import Carried, carry_over
from pipeline.code.changes import Changes, changes_between, not_executed
from pipeline.code.combinations import combination
from pipeline.code.earlier_code import earlier_code
from pipeline.code.listings import bring_in_step, changed_modules, code_hash, code_text, kept_listing
from pipeline.code.sameness import Same, equal_entries, same_of

__all__ = [
    "Carried", "Changes", "Same", "bring_in_step", "carry_over", "changed_modules", "changes_between", "code_hash",
    "code_text", "combination", "earlier_code", "equal_entries", "kept_listing", "not_executed", "same_of",
]  # fmt: skip
