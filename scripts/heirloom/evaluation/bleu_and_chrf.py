"""BLEU (Papineni et al., 2002) and chrF (Popović, 2015) of all answers together, by sacrebleu with its defaults."""

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from heirloom.evaluation.answer_metrics import references
from heirloom.evaluation.intervals import Statistic


def bleu(rows: Sequence[dict[str, Any]]) -> Statistic:
    """Return corpus BLEU, 0 to 100: matches and lengths are added up over all rows before the one score is computed.

    Raises HeirloomError when a row has no reference.
    """
    metric = BLEU(force=True)  # force: no warning about texts with spaces before their stops
    pairs = zip(references(rows, "bleu"), rows, strict=True)
    counts = [metric.corpus_score([row["completion"]], [[reference]]) for reference, row in pairs]
    sums = [(score.sys_len, score.ref_len, *score.counts, *score.totals) for score in counts]
    return Statistic.of_rows([row["row_id"] for row in rows], sums, bleu_of)


def bleu_of(sums: Sequence[float]) -> float:
    """Return BLEU from the lengths of answers and references, and matches and totals of 1- to 4-grams."""
    counts = [round(number) for number in sums]  # they are whole numbers, and sacrebleu prints them as such
    orders = (len(counts) - 2) // 2
    score = BLEU.compute_bleu(counts[2 : 2 + orders], counts[2 + orders :], *counts[:2], smooth_method="exp")
    return float(score.score)


def chrf(rows: Sequence[dict[str, Any]]) -> float:
    """Return corpus chrF2 (6-grams of characters, recall counts twice as much as precision), 0 to 100.

    Raises HeirloomError when a row has no reference.
    """
    return float(CHRF().corpus_score([row["completion"] for row in rows], [references(rows, "chrf")]).score)
