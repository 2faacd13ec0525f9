"""A file in config/datasets/: raw rows and how they are processed, or a mixture of other datasets."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.parsing.named_file import NamedFile
from heirloom.config.sections.mixture import MixtureSection
from heirloom.config.sections.processing import ProcessingSection
from heirloom.config.sections.row_kinds import Kind
from heirloom.config.sections.source import DatasetSource


class Dataset(NamedFile):
    """A processed dataset: `source` and `processing`, or a `source` that is processed already, or `mixture`.

    Or raw rows alone, for the lm-evaluation-harness: a `source` from the hub and nothing else.
    """

    tokenizer: str | None = Field(
        None,
        description="model in config/models/ whose tokenizer makes the token ids; absent: a `source:` from the hub is "
        "for the tasks of `lm_eval:`, which read its raw rows",
    )
    source: DatasetSource | None = Field(None, description="where the raw rows come from")
    processing: ProcessingSection | None = Field(None, description="how raw rows become token ids, masks and splits")
    mixture: MixtureSection | None = Field(None, description="other datasets, mixed; instead of source and processing")

    @property
    def is_processed_already(self) -> bool:
        """Whether create_dataset.py has made it somewhere else."""
        return self.source is not None and self.source.processed is not None

    @property
    def is_raw(self) -> bool:
        """Whether its rows stay raw: for the tasks of `lm_eval:`."""
        parts = any(map(self.given, ("tokenizer", "processing", "mixture")))
        return not parts and self.source is not None and self.source.hub is not None

    @property
    def rows_kind(self) -> Kind | None:
        """The kind of its rows; None for a mixture, and where a mistake hides it."""
        if self.is_processed_already:
            return self.source.kind
        return self.processing.rows_kind if self.processing is not None else None

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if self.is_raw:
            return
        if not self.given("tokenizer"):
            yield "tokenizer", "is missing; name the model whose tokenizer makes the token ids"
        if self.source is not None and self.source.configs is not None:
            yield "source.configs", "is for rows that stay raw, for `lm_eval:`; name one by `config:`"
        if self.is_processed_already and not self.given("mixture"):
            if self.given("processing"):
                yield "processing", "has no effect on source.processed, whose rows are token ids already; delete one"
        elif not self.given("mixture"):
            for key in ("source", "processing"):
                unknown = key == "processing" and self.given("source") and self.source is None  # a wrong source decides
                if not self.given(key) and not unknown:
                    yield key, "this section is missing; a dataset has source and processing, or mixture"
        elif self.given("source") or self.given("processing"):
            yield "mixture", "stands beside source or processing; keep the one or the others"
