"""A file in config/datasets/: raw rows and how they are processed, or a mixture of other datasets."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.parsing.named_file import NamedFile
from heirloom.config.sections.mixture import MixtureSection
from heirloom.config.sections.processing import ProcessingSection
from heirloom.config.sections.source import DatasetSource


class Dataset(NamedFile):
    """A processed dataset: `source` and `processing`, or `mixture`."""

    tokenizer: str = Field(description="model in config/models/ whose tokenizer makes the token ids")
    source: DatasetSource | None = Field(None, description="where the raw rows come from")
    processing: ProcessingSection | None = Field(None, description="how raw rows become token ids, masks and splits")
    mixture: MixtureSection | None = Field(None, description="other datasets, mixed; instead of source and processing")

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if not self.given("mixture"):
            for key in ("source", "processing"):
                if not self.given(key):
                    yield key, "this section is missing; a dataset has source and processing, or mixture"
        elif self.given("source") or self.given("processing"):
            yield "mixture", "stands beside source or processing; keep the one or the others"
