"""What all sections of a configuration file have in common."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


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
