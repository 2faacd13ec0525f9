"""ROUGE-1, ROUGE-2 and ROUGE-L of answers (Lin, ROUGE, 2004), by the library rouge-score."""

from collections.abc import Sequence
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from heirloom.evaluation.answer_metrics import references
from heirloom.evaluation.words import letter_words

TYPES = ("rouge1", "rouge2", "rougeL")


class Words(Tokenizer):
    """Letters and digits of any script; the library's own reader takes all but ASCII for gaps."""

    def tokenize(self, text: str) -> list[str]:
        return letter_words(text)


def rouge_f1(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Return for each of TYPES the F1 of every row's completion against its reference, 0 to 1; words as they stand.

    Raises HeirloomError when a row has no reference.
    """
    scorer = RougeScorer(TYPES, tokenizer=Words())
    pairs = zip(references(rows, "rouge"), rows, strict=True)
    scores = [scorer.score(reference, row["completion"]) for reference, row in pairs]
    return {name: [float(score[name].fmeasure) for score in scores] for name in TYPES}
