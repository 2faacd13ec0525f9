"""A file in config/datasets/: raw rows and how they are processed, or a mixture of other datasets."""

from typing import Any

from pydantic import Field, model_validator

from heirloom.config.mixture import MixtureSection
from heirloom.config.processing import ProcessingSection
from heirloom.config.section import NamedFile, WrongKeyError
from heirloom.config.source import DatasetSource


class Dataset(NamedFile):
    """A processed dataset: `source` and `processing`, or `mixture`."""

    tokenizer: str = Field(description="model in config/models/ whose tokenizer makes the token ids")
    source: DatasetSource | None = Field(None, description="where the raw rows come from")
    processing: ProcessingSection | None = Field(None, description="how raw rows become token ids, masks and splits")
    mixture: MixtureSection | None = Field(None, description="other datasets, mixed; instead of source and processing")

    @model_validator(mode="after")
    def _made_or_mixed(self) -> Any:
        if self.mixture is not None and (self.source or self.processing):
            raise WrongKeyError("mixture", "stands beside source or processing; keep one or the other")
        if self.mixture is None and (self.source is None or self.processing is None):
            missing = "source" if self.source is None else "processing"
            raise WrongKeyError(missing, "this section is missing; a dataset has source and processing, or mixture")
        return self
