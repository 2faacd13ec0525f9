"""All scores of generated answers that a run asks for. Libraries are imported only for the metrics that need them."""

from collections.abc import Sequence
from typing import Any

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.evaluation.answer_metrics import exact_matches, pattern_matches, token_counts
from heirloom.evaluation.intervals import Statistic
from heirloom.evaluation.numeric_match import numeric_matches
from heirloom.evaluation.repetition import distinct, ends_in_loop, repeated_trigrams
from heirloom.evaluation.scores import Keys, Scores
from heirloom.evaluation.user_metrics import user_metric


def score_answers(section: EvaluationSection, rows: Sequence[dict[str, Any]]) -> Scores:
    """Return the scores of answers, rows of generations.jsonl. Raises HeirloomError as the metrics do."""
    scores = Scores(others={("answers",): len(rows)})
    for metric in section.metrics:
        scores.update(Scores(*score_by(metric, section, rows)))
    return scores


def score_by(
    metric: str, section: EvaluationSection, rows: Sequence[dict[str, Any]]
) -> tuple[dict[Keys, Statistic], dict[Keys, Any]]:
    """Return the statistics and the other scores of one metric; nothing for a metric of the checkpoint."""
    texts = [row["completion"] for row in rows]
    means: dict[Keys, Sequence[float]] = {}
    statistics: dict[Keys, Statistic] = {}
    others: dict[Keys, Any] = {}
    if metric == "exact_match":
        means[("exact_match",)], means[("answer_found",)] = exact_matches(rows, section.answer_pattern)
    elif metric == "patterns":
        means = {("patterns", name): found for name, found in pattern_matches(rows, section.patterns).items()}
    elif metric == "numeric_match":
        means[("numeric_match",)] = numeric_matches(rows)
    elif metric == "math_verify":
        from heirloom.evaluation.math_answers import math_matches

        means[("math_verify",)] = math_matches(rows, "evaluation.metrics")
    elif metric == "rouge":
        from heirloom.evaluation.rouge import rouge_f1

        means = {("rouge", name): values for name, values in rouge_f1(rows).items()}
    elif metric == "bleu":
        from heirloom.evaluation.bleu_and_chrf import bleu

        statistics[("bleu",)] = bleu(rows)
    elif metric == "chrf":
        from heirloom.evaluation.bleu_and_chrf import chrf

        others[("chrf",)] = chrf(rows)
    elif metric == "repetition":
        means[("repetition", "repeated_3grams")] = list(map(repeated_trigrams, texts))
        means[("repetition", "loops")] = list(map(ends_in_loop, texts))
    elif metric == "distinct":
        others |= {("distinct", f"distinct_{n}"): distinct(rows, n) for n in (1, 2)}
    elif metric == "token_counts":
        others[("token_counts",)] = token_counts(rows)
    elif ":" in metric:
        found = user_metric(metric, rows, "evaluation.metrics")
        (means if isinstance(found, list) else others)[(metric,)] = found
    prompts = [row["row_id"] for row in rows]
    return statistics | {keys: Statistic.mean(prompts, values) for keys, values in means.items()}, others
