"""What Arrow and Parquet files hold as the rows that were meant.

Arrow gives all structs of a column the same fields: a call's arguments get those of every other row's, as nulls. These
are left out again. Values of the type JSON, which `datasets` chooses for objects of different kinds, are read.
"""

import json
from collections.abc import Callable
from typing import Any

import pyarrow

from heirloom.data.raw.json_rows import TOO_DEEP, goes_too_deep, what_is_wrong
from heirloom.data.raw.text_files import Row, UnreadableRow

Converter = Callable[[Any], Any]
HUGGINGFACE = b"huggingface"  # where `datasets` notes its own types in a schema


class UnreadableValue(ValueError):  # noqa: N818 - it names what was found
    """A value of the type JSON goes beyond what Python reads."""


def converted(row: Row, converters: dict[str, Converter]) -> Row | UnreadableRow:
    """Return a row of which some columns have gone through their converters, or what is wrong with one of them."""
    new = {}
    for column, convert in converters.items():
        try:
            new[column] = convert(row[column])
        except UnreadableValue as error:
            return UnreadableRow(f"column {column!r} {error}")
    return row | new


def row_converters(schema: pyarrow.Schema) -> dict[str, Converter]:
    """Return {column: what its values have to go through}, for the columns that need it.

    Raises ValueError for types that are nested too deep, or notes of `datasets` that are none.
    """
    try:
        noted = json.loads((schema.metadata or {}).get(HUGGINGFACE, b"{}"))
        features = (noted.get("info") or {}).get("features") or {}
        found = {field.name: converter(field.type, features.get(field.name)) for field in schema}
    except RecursionError:
        raise ValueError("its types are nested too deep") from None
    except (ValueError, AttributeError) as error:
        raise ValueError(f"what `datasets` notes of its types cannot be read ({error})") from None
    return {column: convert for column, convert in found.items() if convert}


def converter(kind: pyarrow.DataType, feature: Any = None) -> Converter | None:
    """Return what values of an Arrow type have to go through; None when they are right as they are.

    `feature`: the type as `datasets` notes it, if it does.
    """
    if isinstance(kind, pyarrow.JsonType) or (isinstance(feature, dict) and feature.get("_type") == "Json"):
        return read_json
    if pyarrow.types.is_struct(kind):
        named = feature if isinstance(feature, dict) else {}
        inner = {field.name: converter(field.type, named.get(field.name)) for field in kind}
        return lambda value: None if value is None else without_nulls(value, inner)
    if is_list(kind):
        inner = converter(kind.value_type, feature_of_items(feature))
        return inner and (lambda value: None if value is None else [inner(item) for item in value])
    return None


def is_list(kind: pyarrow.DataType) -> bool:
    """Tell whether an Arrow type is one of its lists."""
    types = pyarrow.types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(of_kind(kind) for of_kind in kinds)


def feature_of_items(feature: Any) -> Any:
    """Return the type of a list's items as `datasets` notes it, in the ways of its versions."""
    if isinstance(feature, list):
        return feature[0] if feature else None
    return feature.get("feature") if isinstance(feature, dict) else None


def without_nulls(value: dict[str, Any], inner: dict[str, Converter | None]) -> dict[str, Any]:
    """Return a struct without the fields that Arrow filled, its other values converted."""
    return {key: inner[key](item) if inner.get(key) else item for key, item in value.items() if item is not None}


def read_json(value: Any) -> Any:
    """Return what a value of the type JSON says; a text that is none stays what it is.

    Raises UnreadableValue for JSON with a number that is too long, or nested too deep.
    """
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value
    except (ValueError, RecursionError) as error:
        raise UnreadableValue(what_is_wrong(error)) from None
    if isinstance(value, str) and goes_too_deep(read, value, 0, len(value)):
        raise UnreadableValue(TOO_DEEP)
    return read
