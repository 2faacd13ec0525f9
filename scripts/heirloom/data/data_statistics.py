"""Count what became of the rows of a split: a flat JSON file that `dvc metrics` shows and compares."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from heirloom.data.rows.rows import FinishedRow

BAD_ROW = "unusable"
HISTOGRAM_STARTS_AT = 16  # tokens; each further class is twice as wide


class SplitStatistics:
    """Counts rows and tokens of one split."""

    def __init__(self) -> None:
        self.rows_in = 0
        self.dropped: Counter[str] = Counter()
        self.rows_out = self.tokens = self.trained = self.truncated = self.cut = self.longest = 0
        self.seen = 0  # test rows with a prompt that is trained on as well
        self.lengths: Counter[int] = Counter()  # by the power of two that is not smaller

    def drop(self, reason: str) -> None:
        """Count a raw row that is left out."""
        self.dropped[reason] += 1

    def keep(self, row: FinishedRow) -> None:
        """Count a finished row."""
        self.rows_out += 1
        self.tokens += row.tokens
        self.trained += row.trained
        self.longest = max(self.longest, row.length)
        self.lengths[max(HISTOGRAM_STARTS_AT, 1 << (row.length - 1).bit_length())] += 1
        if row.cut:
            self.truncated += 1
            self.cut += row.cut

    def as_metrics(self, tokens_left_over: int = 0) -> dict[str, Any]:
        """Return the counts under flat names; every raw row is either kept or dropped for a reason."""
        dropped = sum(self.dropped.values())
        return {
            "rows_in": self.rows_in,
            "rows_kept": self.rows_in - dropped,
            "rows_dropped": dropped,
            "dropped": dict(sorted(self.dropped.items())),
            "rows_out": self.rows_out,
            **({"rows_with_a_trained_prompt": self.seen} if self.seen else {}),
            "rows_truncated": self.truncated,
            "tokens": self.tokens,
            "tokens_trained_on": self.trained,
            "share_trained_on": round(self.trained / self.tokens, 6) if self.tokens else 0.0,
            "tokens_cut": self.cut,
            "tokens_left_over": tokens_left_over,
            "tokens_a_row": round(self.tokens / self.rows_out, 3) if self.rows_out else 0.0,
            "longest_row": self.longest,
            "rows_by_length": self.histogram(),
        }

    def histogram(self) -> dict[str, int]:
        """Return {longest length of the class: rows}, without gaps: `up_to_128` holds 65 to 128 tokens."""
        if not self.lengths:
            return {}
        classes, top = [HISTOGRAM_STARTS_AT], max(self.lengths)
        while classes[-1] < top:
            classes.append(2 * classes[-1])
        return {f"up_to_{size}": self.lengths[size] for size in classes}


def summary(metrics: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each split of a new dataset."""
    for split, counts in metrics.items():
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in counts["dropped"].items())
        yield (
            f"{split}: {counts['rows_out']:,} rows, {counts['tokens']:,} tokens, "
            f"{counts['share_trained_on']:.1%} trained on; of {counts['rows_in']:,} raw rows "
            f"{counts['rows_dropped']:,} left out{f' ({reasons})' if reasons else ''}"
        )
