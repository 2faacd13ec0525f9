"""What a program's code is: a digest of its syntax, so that comments, docstrings and formatting are no change.

`code_hash` is what stands for the code of a program in the entries of its stages; `bring_in_step` writes the files.
"""

from pipeline.code.carried import carry_over
from pipeline.code.listings import bring_in_step, changed_modules, code_hash, code_text, kept_listing
from pipeline.code.sameness import Same, equal_entries, same_of

__all__ = [
    "Same", "bring_in_step", "carry_over", "changed_modules", "code_hash", "code_text", "equal_entries",
    "kept_listing", "same_of",
]  # fmt: skip
