"""What all sections of a configuration file have in common."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr


class WrongKeyError(ValueError):
    """Raised by a check of a whole section that knows which of its keys is to blame."""

    def __init__(self, key: str, problem: str):
        self.key = key
        super().__init__(problem)


class Section(BaseModel):
    """A mapping of known keys: types are not converted (`"8"` is no number) and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PassThroughSection(Section):
    """A section whose other keys go on, under their own names, to a library that defines them."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @property
    def passed_through(self) -> dict[str, Any]:
        """The keys that this section does not define itself, as written in the file."""
        return dict(self.model_extra or {})


class NamedFile(Section):
    """A whole file of config/datasets, config/models or config/runs."""

    _name: str = PrivateAttr("")
    _path: str = PrivateAttr("")
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name without `.yaml`."""
        return self._name

    @property
    def path(self) -> str:
        """The file, relative to the repository's root, with `/`."""
        return self._path

    @property
    def raw(self) -> dict[str, Any]:
        """The file's value as DVC reads it, without defaults: sections that are absent are absent here."""
        return self._raw

    @classmethod
    def from_value(cls, value: dict[str, Any], path: str) -> Self:
        """Return the checked file; raises pydantic.ValidationError."""
        file = cls.model_validate(value)
        file._name, file._path, file._raw = path.rpartition("/")[2].removesuffix(".yaml"), path, value
        return file
