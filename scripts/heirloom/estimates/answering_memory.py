"""The peak of a GPU's memory while a checkpoint answers or is scored, and of the host's while an adapter is merged."""

from heirloom.estimates.model_passes import HELD_OUT, cache
from heirloom.estimates.model_shape import ModelShape


def generation_memory(shape: ModelShape, sequences: int, prompt: int, answer: int, d: int, shared_by: int = 1) -> float:
    """Return the peak of `sequences` answers at once; the weights may be shared by several ranks.

    The cache of keys and values is copied as it grows (transformers' DynamicCache: one layer's at a time), the prompt's
    pass holds one block's widest numbers, and log-probabilities are taken of the scores of all positions of the
    answers, in the model's precision (heirloom/inference/completion_logprobs.py).
    """
    tokens = sequences * (prompt + answer)
    keys = cache(shape, sequences, prompt + answer, d)
    first = sequences * prompt * d * (3 * shape.intermediate + 4 * shape.hidden)
    scores = sequences * (answer + 1) * shape.vocabulary * d + min(tokens, answer) * shape.vocabulary * 8
    states = tokens * shape.hidden * (4 + 2 * d)
    growing = keys + keys / shape.layers
    return shape.parameters * d / shared_by + max(growing + first, scores + states, growing)


def scoring_memory(shape: ModelShape, sequences: int, length: int, d: int) -> float:
    """Return the peak of log-likelihoods of rows: scores of HELD_OUT tokens at a time, or one block's widest numbers.

    Scores of 16 bits are there in 32 as well, beside their log-softmax.
    """
    tokens = sequences * length
    scores = 0 if shape.scores else min(tokens, HELD_OUT) * shape.vocabulary * (8 + (d if d < 4 else 0))
    block = tokens * (d * 3 * shape.intermediate + shape.hidden * (4 + 2 * d))
    return shape.parameters * d + max(scores + tokens * shape.hidden * d, block)
