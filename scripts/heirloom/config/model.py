"""A file in config/models/: a base model and its tokenizer."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.parsing.named_file import NamedFile
from heirloom.config.sections.init import WITH_TOKENIZER_OF_THEIR_OWN, InitSection
from heirloom.config.sections.source import ModelSource, ShapeSection
from heirloom.config.sections.tokenizer import TokenizerSection


class Model(NamedFile):
    """A base model: fresh (`init` and a trained `tokenizer`) or pre-trained (`source`)."""

    source: ModelSource | None = Field(None, description="where the pre-trained model and its tokenizer come from")
    init: InitSection | None = Field(None, description="fresh weights; instead of source")
    tokenizer: TokenizerSection | None = Field(
        None, description="the tokenizer of fresh weights, or changes to the source's tokenizer"
    )
    shape: ShapeSection | None = Field(
        None, description="sizes of a model that is not here yet, for the plan alone (docs/plan.md); no identity"
    )

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if self.init is not None and self.init.model_type in WITH_TOKENIZER_OF_THEIR_OWN:
            problem = "has a tokenizer class of its own in transformers, which reads a tokenizer that is trained here"
            yield "init.model_type", f"{problem} with other ids; use another type, such as qwen3 or llama"
        if self.given("shape") and self.given("init"):
            yield "shape", "says the same as init, which has the sizes of a fresh model; delete it"
        if self.given("source") == self.given("init"):
            found = "both are there" if self.given("init") else "neither is there"
            yield "source", f"give exactly one of source and init; {found}"
        elif self.given("init") and not self.given("tokenizer"):
            yield "tokenizer", "this section is missing; a model with fresh weights needs a tokenizer with train_on"
        elif self.tokenizer is not None and self.given("init") != (self.tokenizer.train_on is not None):
            if self.given("init"):
                yield "tokenizer", "needs train_on: a model with fresh weights has no tokenizer to take over"
            else:
                yield "tokenizer.train_on", "has no effect, the tokenizer comes from source; delete train_on"
