"""How the answers of a dataset end: the tokens that a chat template, or the processing of texts, puts behind each."""

from collections import Counter
from collections.abc import Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

ROWS = 1000
"""Pairs that are looked at; some are cut, and end in the middle."""


def usual_end(pairs: Dataset, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids that most chosen answers end in: the last special token, and white space behind it.

    Nothing where most end otherwise. It is what an answer must end in to be scored where training scored it.
    """
    answers = pairs.select(range(min(ROWS, len(pairs))))["chosen_ids"]
    special = {token for token, about in tokenizer.added_tokens_decoder.items() if about.special}
    (end, _), *_ = Counter(tuple(end_of(answer, special, tokenizer)) for answer in answers).most_common(1)
    return list(end)


def end_of(answer: Sequence[int], special: set[int], tokenizer: PreTrainedTokenizerFast) -> Sequence[int]:
    """Return the last special token of an answer with what follows, if that is white space; else nothing."""
    at = len(answer) - 1
    while at >= 0 and answer[at] not in special and not tokenizer.decode(answer[at]).strip():
        at -= 1
    return answer[at:] if at >= 0 and answer[at] in special else []
