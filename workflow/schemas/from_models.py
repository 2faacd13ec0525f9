"""JSON Schemas and the tables of config/README.md, from the pydantic models of the configuration."""

import json
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from heirloom.config.arguments.library_arguments import argument_schemas, model_configs
from heirloom.config.arguments.refused_arguments import refusal
from heirloom.config.dataset import Dataset
from heirloom.config.folders import PROJECT_FILE, ProjectFile
from heirloom.config.model import Model
from heirloom.config.parsing.mistakes import models_in
from heirloom.config.run import Run
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.sweeps.sweep import Sweep
from heirloom.config.trainers.table import TRAINERS

FILES: dict[str, type[BaseModel]] = {
    "dataset": Dataset, "model": Model, "run": Run, "sweep": Sweep, "project": ProjectFile,
}  # fmt: skip
TABLE = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def model_schemas() -> Iterator[tuple[str, str]]:
    """Yield (name of the file, its text) for each kind of configuration file."""
    for name, model in FILES.items():
        schema = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": PROJECT_FILE if model is ProjectFile else f"config/{name}s/NAME.yaml",
            **simplified(model.model_json_schema()),
        }
        if model is Model:
            schema["$defs"]["InitSection"]["properties"]["model_type"]["enum"] = sorted(model_configs()["models"])
        if model is Run:
            add_passed_through_keys(schema)
        yield f"{name}.schema.json", json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def simplified(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes from names, and with `absent` instead of `null`.

    A key that may be absent is written `X | None` in the models; an editor should offer X.
    """
    if isinstance(schema, list):
        return [simplified(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(kept.get("default", 0), dict | None):
        del kept["default"]
    options = [option for option in kept.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        del kept["anyOf"]
        kept = {**options[0], **kept} if "$ref" not in options[0] else {"allOf": options, **kept}
    elif options:
        kept["anyOf"] = options
    return {key: simplified(value) for key, value in kept.items()}


def add_passed_through_keys(schema: dict[str, Any]) -> None:
    """Let editors complete and check the keys that go on to transformers and TRL, as each trainer has them."""
    schema["allOf"] = [
        {
            "if": {"properties": {"trainer": {"const": trainer}}, "required": ["trainer"]},
            "then": {"properties": {"training": passed_through("training", TrainingSection, trainer)}},
        }
        for trainer in TRAINERS
    ]
    schema["allOf"].append(
        {"properties": {"generation": passed_through("generation", GenerationSection, "generation_config")}}
    )


def passed_through(section: str, model: type[BaseModel], library: str) -> dict[str, Any]:
    """Return the schema of a section whose other keys are a library's, without those that are refused."""
    keys: dict[str, Any] = dict.fromkeys(model.model_fields, True)
    known = argument_schemas(library)
    for key in known:
        if key not in keys and refusal(section, key, known) is None:
            keys[key] = {"$ref": f"training_arguments/{library}.json#/properties/{key}"}
    return {"properties": keys, "additionalProperties": False}


# ---- tables ----


def with_tables(readme: str) -> str:
    """Return config/README.md with the tables between `<!-- keys: NAME -->` and `<!-- end of keys -->` renewed."""
    sections = dict(all_sections())
    return TABLE.sub(lambda match: match[1] + table(sections[match[2]]) + match[3], readme)


def all_sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the files' models and those of their sections, by the name that a marker uses."""
    for name, model in FILES.items():
        yield name, model
        for key, field in model.model_fields.items():
            for section in models_in(field.annotation):
                yield (f"model_{key}" if model is Model and key == "source" else key), section


def table(model: type[BaseModel]) -> str:
    """Return a Markdown table: key, type, default, meaning. Keys of a mapping inside follow as `outer.inner`.

    A mapping that has the keys of the section itself (other machines for a stage) names them, and repeats none.
    """
    rows = ["| key | type | default | meaning |", "|---|---|---|---|", *table_rows(model)]
    return "\n".join(rows) + "\n"


def table_rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    is_file = model in FILES.values()
    for key, field in model.model_fields.items():
        inside = [] if is_file else list(models_in(field.annotation))
        same = [inner for inner in inside if issubclass(model, inner)]
        meaning = field.description or ""
        for inner in same:
            first, *_, last = inner.model_fields
            meaning += (
                f": the keys from `{prefix}{first}` to `{prefix}{last}`, written as `{prefix}{key}: {{{first}: …}}`"
            )
        cells = (f"`{prefix}{key}`", type_text(field.annotation), default_text(field), meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        for inner in (inner for inner in inside if inner not in same):
            yield from table_rows(inner, f"{prefix}{key}.")


def type_text(annotation: Any) -> str:
    """Return a type in words that a user of YAML knows."""
    words = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "any value"}
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(option) for option in inner if option is not type(None))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is list:
        return f"list of {type_text(inner[0])}"
    if origin is dict:
        return f"mapping of {type_text(inner[0])} to {type_text(inner[1])}"
    return words.get(annotation, "mapping")


def default_text(field: FieldInfo) -> str:
    """Return a default as YAML has it; a dash where a key may be absent."""
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or isinstance(field.default, BaseModel):
        return "–"
    return f"`{json.dumps(field.default, ensure_ascii=False)}`".replace('"', "") if field.default != [] else "`[]`"
