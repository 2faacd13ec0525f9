"""Train a byte-level BPE tokenizer.

Byte-level: the alphabet is the 256 bytes, so any text can be written and nothing is unknown
(Radford et al., 2019, "Language Models are Unsupervised Multitask Learners", section 2.2).
"""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from heirloom.errors import HeirloomError


def train_bpe(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str]) -> Tokenizer:
    """Return a tokenizer of `vocab_size` entries: the special tokens (ids 0, 1, …), the bytes, then learned merges.

    Raises HeirloomError when the texts hold too few different words for that many entries.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    smallest = len(special_tokens) + len(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < smallest:
        raise HeirloomError(
            f"tokenizer.vocab_size is {vocab_size}, but 256 bytes and {len(special_tokens)} special tokens "
            f"already need {smallest}: give at least that"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise HeirloomError(
            f"tokenizer.vocab_size is {vocab_size}, but the text gives only {tokenizer.get_vocab_size()} entries: "
            f"lower it to that, or train on more text"
        )
    return tokenizer
