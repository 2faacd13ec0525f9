"""Which tokens hold a span: the two ways to find out agree."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from heirloom.data.rows.token_positions import TokenPositions, token_span_by_offsets

TEXTS = ["The spider, the fly.", "  spaces  and\n\nlines ", "日本 é\u0301 👍🏽 ﬁn", "ﬁve Å two"]


def trained(byte_level: bool, normalizer=None) -> Tokenizer:
    core = Tokenizer(models.BPE(byte_fallback=not byte_level, unk_token=None if byte_level else "<unk>"))
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else [f"<0x{byte:02X}>" for byte in range(256)]
    if byte_level:
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        core.post_processor = processors.ByteLevel(trim_offsets=True)
    else:
        core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    if normalizer:
        core.normalizer = normalizer
    special = ["<unk>"] if byte_level else ["<unk>", *alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet if byte_level else list("thespidrfly., ▁")
    )
    core.train_from_iterator(TEXTS[:2] * 5, trainer)
    return core


@pytest.mark.parametrize("normalizer", [None, normalizers.NFC(), normalizers.NFKC()], ids=["none", "NFC", "NFKC"])
def test_lengths_tell_the_same_as_tracking(normalizer):
    backend = trained(True, normalizer)
    positions = TokenPositions(backend)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    assert not positions.tracked
    for text in TEXTS:
        tracked, fast = backend.encode(text), backend.encode_batch_fast([text])[0]
        assert tracked.ids == fast.ids
        ids = np.array(fast.ids)
        for start in range(len(text)):
            for end in range(start + 1, len(text) + 1):
                expected = token_span_by_offsets(tracked.offsets, start, end)
                assert positions.token_spans(text, ids, fast, [(start, end)]) == [expected], (text, start, end)


def test_trimmed_white_space_belongs_to_the_span_that_holds_it():
    """`trim_offsets` gives white space no characters, only a place: found all the same."""
    offsets = [(0, 3), (5, 5), (5, 8)]  # a word, two spaces, a word
    assert token_span_by_offsets(offsets, 0, 5) == (0, 2)
    assert token_span_by_offsets(offsets, 3, 8) == (1, 3)
    assert token_span_by_offsets(offsets, 5, 8) == (2, 3)


def test_a_tokenizer_that_is_not_byte_level_is_tracked():
    backend = trained(False)
    positions = TokenPositions(backend)
    assert positions.tracked
    encoding = backend.encode("the spider")
    spans = positions.token_spans("the spider", np.array(encoding.ids), encoding, [(0, 3), (4, 10)])
    assert spans[0][1] == spans[1][0] and spans[1][1] == len(encoding.ids)
