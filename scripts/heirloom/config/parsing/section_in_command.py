"""A section of a config that stands in a command itself, as JSON: of stages that no single file of config/ decides."""

import json

from pydantic import ValidationError

from heirloom.config.parsing.mistakes import ConfigErrors, Mistake
from heirloom.config.parsing.reading import AnySection, dotted, explain
from heirloom.errors import HeirloomError


def section_in_command(flag: str, text: str, section: type[AnySection]) -> AnySection:
    """Return the section that a flag's value says. Raises HeirloomError, with every mistake at once."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise HeirloomError(f"{flag} {text}: is no JSON ({error}); expected an object of keys and values") from None
    try:
        return section.model_validate(value)
    except ValidationError as error:
        found = [Mistake(flag, None, dotted(keys), problem) for keys, problem in explain(error, section, value)]
        raise ConfigErrors(found) from None
