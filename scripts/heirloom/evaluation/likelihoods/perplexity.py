"""Perplexity of a checkpoint on held-out rows: exp of the mean negative log-likelihood a token.

The mean is over tokens, not over rows, batches or ranks: sums and counts are added up everywhere before the one
division (Jurafsky & Martin, Speech and Language Processing, 3rd ed., section 3.3).
"""

import math
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from heirloom.data.processed_dataset import held_out_rows, read_description
from heirloom.errors import HeirloomError
from heirloom.evaluation.intervals import Statistic
from heirloom.evaluation.likelihoods.log_likelihood import Row, measure_rows
from heirloom.evaluation.model_scores import ModelScores, digest_of
from heirloom.evaluation.scores import Scores

LARGEST = 700
"""Nats a token; exp of a little more overflows."""


def row_likelihoods(
    checkpoint: Path, dataset: Path, batch_size: int, ranks: PartialState, attention: str | None = None
) -> ModelScores:
    """Return the negative log-likelihood (nats) of each held-out row, and the number of its tokens that count.

    For chats only the tokens that are trained on count. Every rank calls this and gets the same result.
    Raises HeirloomError when there is no model, nothing held out to measure on, or no number to tell.
    """
    rows = read_rows(dataset)
    measured = measure_rows(checkpoint, rows, batch_size, ranks, attention)
    if not any(tokens for _, tokens in measured):
        raise HeirloomError(f"{dataset}: no token of its test split counts: look at its preview.html and train_on")
    return ModelScores(digest_of(rows), [str(index) for index in range(len(rows))], measured, checkpoint)


def perplexity_scores(measured: ModelScores) -> Scores:
    """Return `perplexity`, `nll_per_token` (nats) and the number of `tokens` counted; intervals are over rows.

    Raises HeirloomError for what no number can tell.
    """
    worst = max((nats / tokens for nats, tokens in measured.values if tokens), default=math.inf)
    if worst > LARGEST:
        raise HeirloomError(
            f"{measured.origin}: gives {worst:,.0f} nats a token, whose exponential is no number: its training has "
            "diverged"
        )
    values = zip(measured.prompts, measured.values, strict=True)
    counted = {index: (nats, tokens) for index, (nats, tokens) in values if tokens}
    statistics = {("perplexity",): Statistic(counted, perplexity_of), ("nll_per_token",): Statistic(counted)}
    return Scores(statistics, {("tokens",): sum(tokens for _, tokens in measured.values)})


def perplexity_of(sums: Sequence[float]) -> float:
    """Return exp(nats / tokens)."""
    return math.exp(sums[0] / sums[1])


def read_rows(dataset: Path) -> list[Row]:
    """Return the test split, the longest rows first. Raises HeirloomError when there is none that counts."""
    kind = read_description(dataset)["kind"]
    if kind in ("preference", "seq2seq"):
        raise HeirloomError(
            f"{dataset}: perplexity is measured on text or chat rows, and these are of kind {kind}: let "
            "evaluation.dataset name another dataset"
        )
    split = held_out_rows(dataset, "measure on")
    columns = split.select_columns([name for name in ("input_ids", "labels") if name in split.column_names])
    rows = [(row["input_ids"], row.get("labels", row["input_ids"])) for row in columns]
    return sorted(rows, key=lambda row: -len(row[0]))  # stable: equal lengths stay in dataset order
