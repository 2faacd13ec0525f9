"""What all sections of a configuration file have in common."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator


class BrokenRulesError(ValueError):
    """Every broken rule of a section: (key to blame or "", problem)."""

    def __init__(self, problems: list[tuple[str, str]]):
        self.problems = problems
        super().__init__("; ".join(f"{key}: {problem}" if key else problem for key, problem in problems))


class Section(BaseModel):
    """A mapping of known keys: types are not converted (`"8"` is no number) and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def rules(self) -> Iterator[tuple[str, str]]:
        """Yield (key to blame or "", problem with its remedy) for each broken rule among the section's own keys."""
        yield from ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        problems = list(self.rules())
        if problems:
            raise BrokenRulesError(problems)
        return self


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
