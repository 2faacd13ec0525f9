"""`tokenizer:` a model's tokenizer: trained on raw text, or the source's with a few changes."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.parsing.section import Section


class TokenizerSection(Section):
    """A byte-level BPE tokenizer trained on a dataset's raw text (`train_on`), or changes to the source's tokenizer."""

    train_on: str | None = Field(
        None, description="dataset in config/datasets/ whose raw text the tokenizer is trained on; absent: the source's"
    )
    vocab_size: int | None = Field(None, ge=257, description="entries of the vocabulary, special tokens included")
    chat_template: str | None = Field(None, description="file of a Jinja chat template: config/chat_templates/x.jinja")
    additional_special_tokens: list[str] = Field([], description="tokens that are never split, e.g. the turn markers")
    bos_token: str | None = Field(None, description="token that opens a text")
    eos_token: str | None = Field(None, description="token that ends a text or a turn; a trained tokenizer needs one")
    pad_token: str | None = Field(None, description="token that fills batches; never trained on")
    mask_token: str | None = Field(None, description="token that hides others from a masked language model")
    unk_token: str | None = Field(None, description="token for what the vocabulary lacks")

    def rules(self) -> Iterator[tuple[str, str]]:
        if self.train_on is not None and self.vocab_size is None:
            yield "vocab_size", "is missing; a trained tokenizer needs it"
        if self.train_on is None and self.vocab_size is not None:
            yield "vocab_size", "is for a trained tokenizer; give train_on or delete the key"
