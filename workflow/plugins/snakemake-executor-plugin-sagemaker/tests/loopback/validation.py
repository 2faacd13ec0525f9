"""Requests and responses checked against botocore's service model, refused in the words of AWS.

botocore's own client checks types, required members and minimum lengths only; the service also checks maximum lengths,
patterns and enums, so that a job name with an underscore or an argument of 257 characters first fails on AWS.
"""

import functools
import re
import sys
import unicodedata

from .errors import AwsError

_POSIX_CLASSES = {"Alnum": "a-zA-Z0-9", "Alpha": "a-zA-Z", "Digit": "0-9", "Upper": "A-Z", "Lower": "a-z"}


def check_request(shape, request) -> None:
    """Raise `SerializationException` for a wrong type, `ValidationException` for each constraint that does not hold."""
    problems = violations(shape, request)
    if problems:
        count = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        raise AwsError("ValidationException", f"{count} detected: {'; '.join(problems)}")


def violations(shape, value, path: str = "") -> list[str]:
    """Every broken constraint below `value`, in the words of AWS; `path` is its place, in lower camel case."""
    _check_type(shape, value, path)
    if shape.type_name == "structure":
        return _of_structure(shape, value, path)
    if shape.type_name == "list":
        return _of_list(shape, value, path)
    if shape.type_name == "map":
        return _of_map(shape, value, path)
    return [_failed(value, path, f"Member must {rule}") for rule in _broken(shape, value)]


def _of_structure(shape, value: dict, path: str) -> list[str]:
    problems = []
    for name in value:
        if name not in shape.members:
            raise AwsError(
                "SerializationException", f"{shape.name} has no member {name} (at '{path or 'the request'}')"
            )
    for name in shape.required_members:
        if value.get(name) is None:
            problems.append(
                f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
            )
    for name, member in value.items():
        if member is not None:
            problems += violations(shape.members[name], member, _join(path, name))
    return problems


def _of_list(shape, value: list, path: str) -> list[str]:
    problems = [_failed(value, path, f"Member must {rule}") for rule in _broken(shape, value)]
    if shape.member.type_name in ("structure", "list", "map"):
        for position, item in enumerate(value, 1):
            problems += violations(shape.member, item, f"{path}.{position}.member")
        return problems
    for item in value:
        _check_type(shape.member, item, path)
    if any(_broken(shape.member, item) for item in value):
        problems.append(_failed(value, path, f"Member must satisfy constraint: [{_all_rules(shape.member)}]"))
    return problems


def _of_map(shape, value: dict, path: str) -> list[str]:
    problems = [_failed(value, path, f"Member must {rule}") for rule in _broken(shape, value)]
    for item in value.values():
        _check_type(shape.value, item, path)
    if any(_broken(shape.key, key) for key in value):
        problems.append(_failed(value, path, f"Map keys must satisfy constraint: [{_all_rules(shape.key)}]"))
    if shape.value.type_name == "structure":
        for key, item in value.items():
            problems += violations(shape.value, item, f"{path}.{key}.member")
    elif any(_broken(shape.value, item) for item in value.values()):
        problems.append(_failed(value, path, f"Map value must satisfy constraint: [{_all_rules(shape.value)}]"))
    return problems


def _rules(shape):
    """Each constraint of a shape by itself as (words, function that says whether a value holds it)."""
    limits = shape.metadata
    if shape.type_name in ("string", "list", "map", "blob"):
        if "max" in limits:
            yield f"have length less than or equal to {limits['max']}", lambda value: len(value) <= limits["max"]
        if "min" in limits:
            yield f"have length greater than or equal to {limits['min']}", lambda value: len(value) >= limits["min"]
    elif shape.type_name in ("integer", "long", "float", "double"):
        if "max" in limits:
            yield f"have value less than or equal to {limits['max']}", lambda value: value <= limits["max"]
        if "min" in limits:
            yield f"have value greater than or equal to {limits['min']}", lambda value: value >= limits["min"]
    if "pattern" in limits:
        pattern = limits["pattern"]
        yield f"satisfy regular expression pattern: {pattern}", lambda value: compiled(pattern).fullmatch(value)
    if limits.get("enum"):
        yield f"satisfy enum value set: [{', '.join(limits['enum'])}]", lambda value: value in limits["enum"]


def _broken(shape, value) -> list[str]:
    return [words for words, holds in _rules(shape) if not holds(value)]


def _all_rules(shape) -> str:
    return ", ".join(f"Member must {words}" for words, _ in _rules(shape))


def _check_type(shape, value, path: str) -> None:
    expected = {
        "structure": dict,
        "map": dict,
        "list": list,
        "string": str,
        "blob": str,
        "boolean": bool,
        "integer": int,
        "long": int,
        "float": (int, float),
        "double": (int, float),
        "timestamp": (int, float),
    }[shape.type_name]
    number_given_as_boolean = isinstance(value, bool) and shape.type_name != "boolean"
    if not isinstance(value, expected) or number_given_as_boolean:
        message = f"{type(value).__name__} can not be converted to {shape.type_name} (at '{path or 'the request'}')"
        raise AwsError("SerializationException", message)


def _failed(value, path: str, rule: str) -> str:
    return f"Value '{_java_text(value)}' at '{path}' failed to satisfy constraint: {rule}"


def _java_text(value) -> str:
    """A value as the service's own language prints it: [a, b] and {key=value}."""
    if isinstance(value, list):
        return f"[{', '.join(_java_text(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java_text(item)}" for key, item in value.items()) + "}"
    return str(value)


def _join(path: str, member: str) -> str:
    member = member[:1].lower() + member[1:]
    return f"{path}.{member}" if path else member


@functools.cache
def compiled(pattern: str) -> re.Pattern:
    """A pattern of the model (Java's syntax) for Python's `re`, which has no `\\p{...}` classes."""
    return re.compile(re.sub(r"\\p\{(\w+)\}", lambda found: _class_members(found[1]), pattern))


@functools.cache
def _class_members(name: str) -> str:
    """The inside of a bracket expression that matches a POSIX class or a Unicode category (by its first letters)."""
    if name in _POSIX_CLASSES:
        return _POSIX_CLASSES[name]
    members, first = [], None
    for point in range(sys.maxunicode + 2):
        inside = point <= sys.maxunicode and unicodedata.category(chr(point)).startswith(name)
        if inside and first is None:
            first = point
        elif not inside and first is not None:
            members.append(f"\\U{first:08x}-\\U{point - 1:08x}")
            first = None
    return "".join(members)
