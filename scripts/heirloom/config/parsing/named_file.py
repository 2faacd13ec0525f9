"""A whole file of config/datasets, config/models or config/runs: NAME.yaml."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

from pydantic import PrivateAttr, TypeAdapter, ValidationError

from heirloom.config.parsing.mistakes import explain
from heirloom.config.parsing.section import Section

Problems = list[tuple[tuple[str | int, ...], str]]


class NamedFile(Section):
    """What datasets, models and runs have in common: a name, a path, and the value as it was written."""

    elsewhere: ClassVar[Callable[[str, str], str | None]] = staticmethod(lambda section, key: None)
    """Says of an unknown key of a section where else it stands."""

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

    def given(self, key: str) -> bool:
        """Whether the file has the key; its value is None here when the file has it wrong."""
        return key in self.model_fields_set

    def rules(self) -> Iterator[tuple[str, str]]:
        for key in sorted(self.model_fields_set & type(self).model_fields.keys()):
            if getattr(self, key) is None:
                yield key, "has no value; give one or delete the key"

    @classmethod
    def check(cls, value: Any, path: str) -> tuple[Self, Problems]:
        """Return the file and what is wrong with it: (nested keys, sentence).

        A file with mistakes comes back with None for the keys that are wrong, so that the others can still be
        checked against other files.
        """
        problems: Problems = []
        try:
            file = cls.model_validate(value)
        except ValidationError as error:
            problems = list(explain(error, cls, value, cls.elsewhere))
            wrong = {keys[0] for keys, _ in problems if keys}
            file = cls._without(value if isinstance(value, dict) else {}, wrong)
            broken = (((*key.split("."),), problem) for key, problem in file.rules() if isinstance(value, dict))
            problems += [(keys, problem) for keys, problem in broken if keys[0] not in wrong]
        file._name = path.rpartition("/")[2].removesuffix(".yaml")
        file._path, file._raw = path, value if isinstance(value, dict) else {}
        return file, problems

    @classmethod
    def _without(cls, value: dict[str, Any], wrong: set[str | int]) -> Self:
        """Return the file with None at its wrong keys, the other keys checked."""
        fields = cls.model_fields
        right = {key: TypeAdapter(fields[key].annotation) for key in value if key in fields and key not in wrong}
        missing = {key: None for key, field in fields.items() if key in wrong or field.is_required()}
        checked = {key: adapter.validate_python(value[key], strict=True) for key, adapter in right.items()}
        return cls.model_construct(_fields_set=set(value), **(missing | checked))
