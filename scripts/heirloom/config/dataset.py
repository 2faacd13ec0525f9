"""A file in config/datasets/: raw rows and how they are processed, or a mixture of other datasets."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.mixture import MixtureSection
from heirloom.config.processing import ProcessingSection
from heirloom.config.section import NamedFile
from heirloom.config.source import DatasetSource


class Dataset(NamedFile):
    """A processed dataset: `source` and `processing`, or `mixture`."""

    tokenizer: str = Field(description="model in config/models/ whose tokenizer makes the token ids")
    source: DatasetSource | None = Field(None, description="where the raw rows come from")
    processing: ProcessingSection | None = Field(None, description="how raw rows become token ids, masks and splits")
    mixture: MixtureSection | None = Field(None, description="other datasets, mixed; instead of source and processing")

    def rules(self) -> Iterator[tuple[str, str]]:
        if self.mixture is not None and (self.source or self.processing):
            yield "mixture", "stands beside source or processing; keep one or the other"
        if self.mixture is None and (self.source is None or self.processing is None):
            missing = "source" if self.source is None else "processing"
            yield missing, "this section is missing; a dataset has source and processing, or mixture"
