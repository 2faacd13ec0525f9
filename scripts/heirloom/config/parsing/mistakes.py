"""Tell a user's mistakes in configuration files: where, what is wrong, what was expected, what to do."""

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from heirloom.errors import HeirloomError

Keys = Sequence[str | int]

# What pydantic's error types expect, in words.
EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "none_required": "nothing (null)",
    "int_from_float": "a whole number",
}
LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
MANY = 12  # choices; more are not listed in a message when one of them is near
SECRET = re.compile(r"\b(hf_[A-Za-z0-9]{16,}|A[KS]IA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,})")
SECRET_KEY = re.compile(r"(^|_)(token|api_?key|secret|secret_key|access_key|password)$", re.IGNORECASE)


@dataclass(frozen=True)
class Mistake:
    """One mistake: `file:line: key: sentence`. Credentials never get into it."""

    file: str
    line: int | None
    key: str
    problem: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", SECRET.sub("(a credential)", self.key))
        object.__setattr__(self, "problem", SECRET.sub("(a credential)", self.problem))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.problem) if part)


class ConfigErrors(HeirloomError):  # noqa: N818 - several errors in one
    """Every mistake that was found, a line each."""

    def __init__(self, mistakes: Iterable[Mistake]):
        self.mistakes = sorted(set(mistakes), key=lambda mistake: (mistake.file, mistake.line or 0, str(mistake)))
        super().__init__("\n".join(map(str, self.mistakes)))


def did_you_mean(name: str, known: Iterable[str], what: str = "known") -> str:
    """Return `did you mean …?` for a near miss, else the list of what is known."""
    known = sorted(known)
    close = closest(str(name), known)
    if close is not None:
        return f"did you mean {close}?"
    return f"{what}: {', '.join(known)}" if known else f"{what}: none"


def closest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that was probably meant; None when none is near."""
    close = difflib.get_close_matches(name, known, n=5)
    return next((match for match in close if match.startswith(name)), close[0] if close else None)


def is_secret(key: str | int, value: Any) -> bool:
    """Tell whether a value looks like a credential, by its form or by the name of its key."""
    if not isinstance(value, str):
        return False
    return bool(SECRET.search(value)) or (
        isinstance(key, str) and bool(SECRET_KEY.search(key)) and re.fullmatch(r"[\w+/=.-]{16,}", value) is not None
    )


def shown(value: Any, key: str | int = "") -> str:
    """Return a value as a message may show it: short, in YAML's words, never a credential."""
    if is_secret(key, value):
        return "a credential"
    words = {None: "nothing", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)[:60]


def explain(
    error: ValidationError,
    model: type[BaseModel],
    value: Any,
    elsewhere: Callable[[str, str], str | None] = lambda section, key: None,
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (nested keys, sentence) for each mistake that pydantic found in `value`.

    `elsewhere` says of an unknown key of a section ("" is the top) where else it stands.
    """
    unions: dict[tuple[str | int, ...], list[tuple[tuple[str | int, ...], dict[str, Any]]]] = {}
    for detail in error.errors(include_url=False):
        keys, branch_at = real_keys(value, detail)
        if detail["type"] == "extra_forbidden" and len(keys) < 3:
            remedy = elsewhere(str(keys[0]) if len(keys) > 1 else "", str(keys[-1]))
            if remedy is not None:
                yield keys, f"there is no such key; {remedy}"
                continue
        if branch_at is None:
            broken = getattr(detail.get("ctx", {}).get("error"), "problems", None)
            if broken is None:
                yield keys, sentence(detail, keys, model)
            else:
                yield from (((*keys, *nested_keys(key)), problem) for key, problem in broken)
        else:
            unions.setdefault(keys[:branch_at], []).append((keys, detail))
    for place, alternatives in unions.items():
        inside = [(keys, detail) for keys, detail in alternatives if len(keys) > len(place)]
        for keys, detail in inside:
            yield keys, sentence(detail, keys, model)
        if not inside:
            expected = " or ".join(dict.fromkeys(expectation(detail) for _, detail in alternatives))
            yield place, mismatch(expected, alternatives[0][1]["input"], place)


def nested_keys(dotted: str) -> Keys:
    """Return the keys in a dotted name; a number counts the items of a list: `metrics.0`."""
    return [int(key) if key.isdecimal() else key for key in dotted.split(".") if key]


def real_keys(value: Any, detail: dict[str, Any]) -> tuple[tuple[str | int, ...], int | None]:
    """Return the location without the branch names that pydantic adds for unions, and where the first one stood."""
    if detail["type"] == "invalid_key":
        return detail["loc"], None
    keys: list[str | int] = []
    branch_at = None
    for position, part in enumerate(detail["loc"]):
        is_last = position == len(detail["loc"]) - 1
        if isinstance(value, dict) and part in value or isinstance(value, list) and isinstance(part, int):
            keys.append(part)
            value = value[part]
        elif is_last and detail["type"] in ("missing", "extra_forbidden"):
            keys.append(part)
        elif branch_at is None:
            branch_at = len(keys)
    return tuple(keys), branch_at


def sentence(detail: dict[str, Any], keys: Keys, model: type[BaseModel]) -> str:
    """Return what is wrong, what was expected and what to do, for one of pydantic's errors."""
    kind = detail["type"]
    if kind == "missing":
        field = fields_at(model, keys[:-1]).get(keys[-1])
        meaning = f": {field.description}" if field and field.description else ""
        return f"this key is missing; give it{meaning}"
    if kind == "extra_forbidden":
        return f"there is no such key; {did_you_mean(keys[-1], fields_at(model, keys[:-1]))}"
    if kind == "invalid_key":
        return f"a key must be a text, found {shown(detail['input'])}; write it in quotes"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind in EXPECTED or kind == "literal_error":
        return mismatch(expectation(detail), detail["input"], keys)
    for limit, words in LIMITS.items():
        if limit in detail.get("ctx", {}):
            return mismatch(f"{words} {detail['ctx'][limit]}", detail["input"], keys)
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {shown(detail['input'], keys[-1] if keys else '')}"


def expectation(detail: dict[str, Any]) -> str:
    """Return in words what one of pydantic's errors expected."""
    if detail["type"] == "literal_error":
        return detail["ctx"]["expected"].replace("'", "")
    return EXPECTED.get(detail["type"], detail["msg"])


def mismatch(expected: str, found: Any, keys: Keys) -> str:
    """Return `expected X, found Y`, with the remedy where it is known."""
    what = shown(found, keys[-1] if keys else "")
    text = f"expected {expected}, found {what}"
    if found is None:
        return f"{text}; give a value or delete the key"
    if isinstance(found, str):
        if "true or false" in expected and found.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false"):
            return f"{text}; write true or false"
        if "number" in expected and re.fullmatch(r"[-+]?[\d_]*\.?\d+([eE][-+]?\d+)?", found):
            return f"{text}; write it without quotes"
        if expected == "a list":
            return f"{text}; write [{found}]"
        choices = re.split(r", | or ", expected)
        close = closest(found, choices)
        if close is not None and len(choices) > MANY:
            return f"{what} is none of the {len(choices)} that are known; did you mean {close}?"
        return f"{text}; did you mean {close}?" if close is not None and len(choices) > 1 else text
    return text


def fields_at(model: type[BaseModel], keys: Keys) -> dict[str, Any]:
    """Return the pydantic fields that are known at the nested `keys` of `model`."""
    for key in keys:
        field = model.model_fields.get(str(key))
        inner = next(models_in(field.annotation), None) if field else None
        if inner is None:
            return {}
        model = inner
    return dict(model.model_fields)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation such as `Inner | None` mentions."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from models_in(argument)
