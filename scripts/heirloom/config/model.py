"""A file in config/models/: a base model and its tokenizer."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.init import InitSection
from heirloom.config.section import NamedFile
from heirloom.config.source import ModelSource
from heirloom.config.tokenizer import TokenizerSection


class Model(NamedFile):
    """A base model: fresh (`init` and a trained `tokenizer`) or pre-trained (`source`)."""

    source: ModelSource | None = Field(None, description="where the pre-trained model and its tokenizer come from")
    init: InitSection | None = Field(None, description="fresh weights; instead of source")
    tokenizer: TokenizerSection | None = Field(
        None, description="the tokenizer of fresh weights, or changes to the source's tokenizer"
    )

    def rules(self) -> Iterator[tuple[str, str]]:
        if (self.source is None) == (self.init is None):
            found = "neither is there" if self.source is None else "both are there"
            yield "source", f"give exactly one of source and init; {found}"
        trained = self.tokenizer is not None and self.tokenizer.train_on is not None
        if self.init is not None and not trained:
            yield "tokenizer", "needs train_on: a model with fresh weights has no tokenizer to take over"
        if self.source is not None and trained:
            yield "tokenizer", "must not have train_on: the tokenizer comes from source; delete train_on"
