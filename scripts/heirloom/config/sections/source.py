"""`source:` where a raw dataset or a model comes from."""

import re
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.section import Section
from heirloom.config.sections.row_kinds import KIND_NAMES, Kind

DEMO_PARTS = ("text", "chats", "hearsay", "preferences", "prices")
"""What the demo's generator writes. Only names: stages whose code reads the config do not depend on the generator."""


class ModelSource(Section):
    """Where a model and its tokenizer come from: exactly one of hub, s3, path."""

    places: ClassVar[tuple[str, ...]] = ("hub", "s3", "path")

    hub: str | None = Field(None, description="repository on the Hugging Face Hub, `owner/name`")
    revision: str | None = Field(
        None,
        description="commit of the hub repository, 40 hex digits: anything else (a branch, a tag, nothing) can change "
        "under you and gives a warning",
    )
    s3: str | None = Field(None, description="prefix on S3, `s3://bucket/prefix`")
    path: str | None = Field(None, description="local file or folder, relative to the repository's root")

    @property
    def local(self) -> str | None:
        """The path of a source that is here already and is not fetched."""
        return self.path

    @property
    def pinned(self) -> bool:
        """Whether the source always gives the same bytes, as far as the configuration can say."""
        return self.hub is None or re.fullmatch(r"[0-9a-f]{40}", self.revision or "") is not None

    def rules(self) -> Iterator[tuple[str, str]]:
        given = [place for place in self.places if getattr(self, place) is not None]
        if len(given) != 1:
            yield "", f"give exactly one of {', '.join(self.places)}; found {' and '.join(given) or 'none'}"
        if self.revision is not None and self.hub is None:
            yield "revision", "belongs to a hub repository; delete it or give `hub:`"
        if self.hub is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.hub):
            yield "hub", "must look like owner/name; write no address and no revision here"
        if self.s3 is not None and not re.fullmatch(r"s3://[^/]+/.+", self.s3):
            yield "s3", "must look like s3://bucket/prefix"


class DatasetSource(ModelSource):
    """Where a raw dataset comes from, or one that is processed already: exactly one of the places."""

    places: ClassVar[tuple[str, ...]] = ("hub", "s3", "path", "generator", "processed")

    config: str | None = Field(None, description="configuration (subset) of the hub dataset")
    configs: list[str] | None = Field(
        None,
        min_length=1,
        description="several configurations, by name or pattern (`*`: all), each in a folder of its own: for the tasks "
        "of a run's `lm_eval:`",
    )
    splits: list[str] | None = Field(None, description="splits of the hub dataset to download; absent: all")
    files: list[str] | None = Field(None, description="patterns of the files to download from hub or S3; absent: all")
    processed: str | None = Field(
        None,
        description="a processed dataset that `create_dataset.py DESTINATION` made: `s3://bucket/prefix` or a local "
        "folder; there is no section `processing` then",
    )
    kind: Kind | None = Field(None, description="processed: what its rows are")
    generator: str | None = Field(None, description="name of a built-in generator of data: `demo`")
    part: str | None = Field(None, description=f"what the generator writes: {', '.join(DEMO_PARTS)}")
    rows: int | None = Field(None, ge=1, description="training rows that the generator writes")
    test_rows: int | None = Field(None, ge=1, description="held-out rows that the generator writes")
    seed: int = Field(0, description="seed of the generator")

    @property
    def local(self) -> str | None:
        """The path of a source that is here already and is not fetched."""
        return self.path if self.processed is None or self.processed.startswith("s3://") else self.processed

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if self.processed is not None and self.kind is None:
            yield "kind", f"is missing; say what the processed rows are: {KIND_NAMES}"
        if self.processed is not None and not re.fullmatch(r"s3://[^/]+(/.*)?|(?!s3:).*", self.processed):
            yield "processed", "must look like s3://bucket/prefix, or be a local folder"
        if self.generator is not None:
            if self.generator != "demo":
                yield "generator", f"there is no generator {self.generator}; known is demo"
            for key in ("part", "rows"):
                if getattr(self, key) is None:
                    yield key, "is missing; a generator needs part and rows"
            if self.part is not None and self.part not in DEMO_PARTS:
                yield "part", f"the demo generator has no part {self.part}; {did_you_mean(self.part, DEMO_PARTS)}"
        if self.config is not None and self.configs is not None:
            yield "configs", "stands beside `config:`; keep one of the two"
        owners = {"config": ("hub",), "configs": ("hub",), "splits": ("hub",), "files": ("hub", "s3")}
        owners |= {"kind": ("processed",)}
        owners |= dict.fromkeys(("part", "rows", "test_rows", "seed"), ("generator",))
        for key, places in owners.items():
            if key in self.model_fields_set and all(getattr(self, place) is None for place in places):
                yield key, f"has no effect without {' or '.join(f'`{place}:`' for place in places)}; delete it"


class ShapeSection(Section):
    """What its config.json says, under the same names; once the model is here its own file counts."""

    model_type: str = Field(description="architecture, transformers' name: llama, qwen3, …")
    dtype: str = Field("bfloat16", description="type of the saved weights: float32, bfloat16 or float16")
    vocab_size: int = Field(ge=1, description="entries of the vocabulary")
    hidden_size: int = Field(ge=1, description="width of the residual stream")
    intermediate_size: int = Field(ge=1, description="width of the MLP")
    num_hidden_layers: int = Field(ge=1, description="blocks")
    num_attention_heads: int = Field(ge=1, description="heads")
    num_key_value_heads: int | None = Field(None, ge=1, description="heads of keys and values; absent: as many")
    head_dim: int | None = Field(None, ge=1, description="size of a head; absent: hidden_size / num_attention_heads")
    tie_word_embeddings: bool = Field(False, description="the output layer is the input embedding")
