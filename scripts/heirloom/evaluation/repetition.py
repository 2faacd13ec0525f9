"""How much answers repeat themselves and each other. Words are what white space separates, or characters."""

from collections.abc import Sequence
from typing import Any

from heirloom.evaluation.words import spaced_words

LOOP = 3  # so many times in a row is no accident


def repeated_trigrams(text: str) -> float:
    """Return the share of the text's 3-grams of words that stood in it before; 0 for a text of fewer words.

    seq-rep-3 of Welleck et al., Neural Text Generation with Unlikelihood Training, arXiv:1908.04319.
    """
    grams = ngrams(spaced_words(text), 3)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def ends_in_loop(text: str) -> bool:
    """Say whether the text ends in the same words LOOP times in a row; the cut at the longest answer may lie inside."""
    words = spaced_words(text)
    return any(
        words[-(LOOP - 1) * period :] == words[-LOOP * period : -period] for period in range(1, len(words) // LOOP + 1)
    )


def distinct(rows: Sequence[dict[str, Any]], n: int) -> float:
    """Return distinct-n: the number of different n-grams of words over all completions, divided by that of all words.

    0 without words. Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models,
    arXiv:1510.03055.
    """
    answers = [spaced_words(row["completion"]) for row in rows]
    words = sum(map(len, answers))
    return len({gram for answer in answers for gram in ngrams(answer, n)}) / words if words else 0.0


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return all n-grams in order."""
    return list(zip(*(words[start:] for start in range(n)), strict=False))
