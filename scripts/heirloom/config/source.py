"""`source:` where a raw dataset or a model comes from."""

import re

from pydantic import Field, model_validator

from heirloom.config.section import Section, WrongKeyError


class HubSource(Section):
    """What a dataset's and a model's source have in common: one place, and a revision where the place has some."""

    hub: str | None = Field(None, description="repository on the Hugging Face Hub, `owner/name`")
    revision: str | None = Field(
        None,
        description="commit of the hub repository, 40 hex digits: anything else (a branch, a tag, nothing) can change "
        "under you and gives a warning",
    )
    s3: str | None = Field(None, description="prefix on S3, `s3://bucket/prefix`")
    path: str | None = Field(None, description="local file or folder, relative to the repository's root")

    @property
    def pinned(self) -> bool:
        """Whether the source always gives the same bytes as far as the configuration can say."""
        return self.hub is None or re.fullmatch(r"[0-9a-f]{40}", self.revision or "") is not None

    @model_validator(mode="after")
    def _one_place(self):
        require_one(self, self.places())
        if self.revision is not None and self.hub is None:
            raise WrongKeyError("revision", "belongs to a hub repository; delete it or give `hub:`")
        if self.s3 is not None and not re.fullmatch(r"s3://[^/]+/.+", self.s3):
            raise WrongKeyError("s3", "must look like s3://bucket/prefix")
        return self

    @staticmethod
    def places() -> tuple[str, ...]:
        """The keys of which exactly one is given."""
        return ("hub", "s3", "path")


class ModelSource(HubSource):
    """Where a model and its tokenizer come from: exactly one of hub, s3, path."""


class DatasetSource(HubSource):
    """Where a raw dataset comes from: exactly one of hub, s3, path, generator."""

    config: str | None = Field(None, description="configuration (subset) of the hub dataset")
    splits: list[str] | None = Field(None, description="splits of the hub dataset to download; absent: all")
    files: list[str] | None = Field(None, description="patterns of the files to download from hub or S3; absent: all")
    generator: str | None = Field(None, description="name of a built-in generator of data: `demo`")
    part: str | None = Field(None, description="what the generator writes: text, chats or preferences")
    rows: int | None = Field(None, ge=1, description="training rows that the generator writes")
    test_rows: int | None = Field(None, ge=1, description="held-out rows that the generator writes")
    seed: int = Field(0, description="seed of the generator")

    @staticmethod
    def places() -> tuple[str, ...]:
        return ("hub", "s3", "path", "generator")

    @model_validator(mode="after")
    def _keys_fit_the_place(self):
        given = self.model_fields_set
        for place, keys in {"hub": ("config", "splits"), "generator": ("part", "rows", "test_rows", "seed")}.items():
            stray = [key for key in keys if key in given]
            if stray and getattr(self, place) is None:
                raise WrongKeyError(stray[0], f"needs `{place}:`; give that or delete {' and '.join(stray)}")
        return self


def require_one(section: Section, keys: tuple[str, ...]) -> None:
    """Raise ValueError unless exactly one of `keys` is given."""
    given = [key for key in keys if getattr(section, key) is not None]
    if len(given) != 1:
        found = f"found {' and '.join(given)}" if given else "found none"
        raise ValueError(f"give exactly one of {', '.join(keys)}; {found}")
