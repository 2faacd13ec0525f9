"""Rename raw columns before the processing function sees a row: `columns: {theirs: ours}`."""

from typing import Any

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.errors import HeirloomError


class ColumnNames:
    """Renames the columns of rows, and knows which names no row had."""

    def __init__(self, columns: dict[str, str]):
        """`columns`: {theirs: ours}; may be empty."""
        self.columns = columns
        self.unseen = set(columns)
        self.found: dict[str, None] = {}

    def rename(self, row: dict[str, Any], row_id: str) -> dict[str, Any]:
        """Return the row with its columns renamed; raises HeirloomError when two would have one name."""
        if not self.columns:
            return row
        self.unseen.difference_update(row)
        if self.unseen:
            self.found |= dict.fromkeys(row)
        renamed = {self.columns.get(column, column): value for column, value in row.items()}
        if len(renamed) < len(row):
            ours = [self.columns.get(column, column) for column in row]
            twice = next(name for name in ours if ours.count(name) > 1)
            theirs = [column for column in row if self.columns.get(column, column) == twice]
            raise HeirloomError(
                f"processing.columns: {row_id} has the columns {' and '.join(theirs)}, and each would be {twice!r}; "
                f"rename the other one away too, for instance {{{twice}: unused}}"
            )
        return renamed

    def check_all_seen(self, rows: int) -> None:
        """Raise HeirloomError for a name that none of the `rows` had."""
        if self.unseen and rows:
            name = min(self.unseen)
            raise HeirloomError(
                f"processing.columns.{name}: no row has such a column; {did_you_mean(name, self.found, 'they have')}"
            )
