"""ROUGE-1, ROUGE-2 and ROUGE-L of answers (Lin, ROUGE, 2004), by the library rouge-score."""

import re
from collections.abc import Sequence
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from heirloom.evaluation.answer_metrics import references

TYPES = ("rouge1", "rouge2", "rougeL")
WORD = re.compile(r"[^\W_]+")


class Words(Tokenizer):
    """Letters and digits of any script, in lower case.

    On ASCII text these are the library's own words; but its own reader takes all other letters for gaps.
    """

    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.lower())


def rouge_f1(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Return for each of TYPES the F1 of every row's completion against its reference, 0 to 1; words as they stand.

    Raises HeirloomError when a row has no reference.
    """
    scorer = RougeScorer(TYPES, tokenizer=Words())
    pairs = zip(references(rows, "rouge"), rows, strict=True)
    scores = [scorer.score(reference, row["completion"]) for reference, row in pairs]
    return {name: [float(score[name].fmeasure) for score in scores] for name in TYPES}
