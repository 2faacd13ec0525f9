"""JSON Schemas of transformers' and TRL's argument classes, as far as the configuration passes keys through to them.

Needs the training environment: it imports the classes of the pinned versions.
"""

import dataclasses
import enum
import importlib
import importlib.util
import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heirloom.config.arguments.refused_arguments import refusal
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.trainers.table import TRAINERS

TYPE_NAMES = {int: "integer", float: "number", bool: "boolean", str: "string", dict: "object", type(None): "null"}
# Keys whose choices stand in their help text only; TRL checks them when training starts, which is too late.
CHOICES_IN_HELP = {"loss_type", "f_divergence_type"}
DESCRIPTION_LENGTH = 240
HEAD_DIM = 'getattr(config, "head_dim"'
"""How models read the width of an attention head that is not hidden_size / heads."""


def library_schemas() -> Iterator[tuple[str, str]]:
    """Yield (path of the file, its text) for each trainer, for generation_config and for the models' configurations."""
    import transformers

    for name, trainer in TRAINERS.items():
        fields = dataclasses.fields(library_class(trainer.arguments_class))
        properties = {field.name: field_schema(field) for field in fields if field.init}
        yield f"training_arguments/{name}.json", rendered(versioned(trainer.arguments_class), properties)
    from generation_ranges import ranged

    properties = ranged(generation_properties(transformers.GenerationConfig), left_to_the_section)
    title = versioned("transformers.GenerationConfig")
    yield "training_arguments/generation_config.json", rendered(title, properties)
    yield "model_configs.json", model_configs(transformers)


def library_class(name: str) -> type:
    """Return a class by its full name."""
    module, _, own_name = name.rpartition(".")
    return getattr(importlib.import_module(module), own_name)


def versioned(name: str) -> str:
    """Return a class's full name and the version of its library; of one of ours its name and that of its library's."""
    library, own_name = name.partition(".")[0], name.rpartition(".")[2]
    if library != "heirloom":
        return f"{name} {importlib.import_module(library).__version__}"
    base = library_class(name).__base__
    return f"{own_name} ({versioned(base.__module__.partition('.')[0] + '.' + base.__name__)})"


def model_configs(transformers: types.ModuleType) -> str:
    """Return the keys of the configuration class of each text model that can be trained from scratch.

    A key has the name or names of its JSON types; none where any value may stand. One model a line.
    """
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_types = {
        *modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        *modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        *modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    }
    common = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)}
    lines = []
    for model_type in sorted(model_types):
        config = CONFIG_MAPPING[model_type]
        own = (field for field in dataclasses.fields(config) if field.name not in common)
        keys = {field.name: type_schema(field.type).get("type", []) for field in own}
        keys |= {name: [] for name in config.attribute_map if name not in keys}
        if "head_dim" not in keys and HEAD_DIM in modeling_source(config):
            keys["head_dim"] = "integer"  # read where it is set (Qwen3-30B-A3B's is 128), and no field of the class
        lines.append(f"  {json.dumps(model_type)}: {json.dumps(keys, sort_keys=True, separators=(',', ':'))}")
    models = ",\n".join(lines)
    return f'{{"title": "transformers {transformers.__version__}", "models": {{\n{models}\n}}}}\n'


def modeling_source(config: type) -> str:
    """Return the source of the module that makes models of a configuration class; empty where there is none."""
    name = config.__module__.replace(".configuration_", ".modeling_")
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""


def rendered(title: str, properties: dict[str, dict[str, Any]]) -> str:
    """Return a schema as text, one key a line, so that a change of versions shows as a short diff."""
    lines = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps(schema, ensure_ascii=False)}" for key, schema in sorted(properties.items())
    )
    return f'{{"title": {json.dumps(title)}, "type": "object", "properties": {{\n{lines}\n}}}}\n'


def field_schema(field: dataclasses.Field) -> dict[str, Any]:
    """Return the JSON Schema of one key of a dataclass: type, choices, default, the beginning of its help."""
    help_text = str(field.metadata.get("help", ""))
    schema = type_schema(field.type)
    choices = field.metadata.get("choices")
    if choices is None and field.name in CHOICES_IN_HELP:
        possible = re.search(r"Possible values are:? (.*?)\.(?: [A-Z]|$)", help_text, re.DOTALL)
        choices = re.findall(r"`'?(\w+)'?`", possible.group(1)) if possible else None
    if choices is not None:
        limit_to(schema, sorted(map(str, choices)))
    if field.default is not dataclasses.MISSING:
        default = field.default.value if isinstance(field.default, enum.Enum) else field.default
        schema["default"] = default if isinstance(default, str | int | float | None) else str(default)
    elif field.default_factory is not dataclasses.MISSING:
        schema["default"] = field.default_factory()
    return schema | {"description": shortened(help_text)}


def type_schema(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type annotation; nothing is required of types that YAML cannot hold."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        options = [type_schema(option) for option in typing.get_args(annotation)]
        names = list(dict.fromkeys(name for option in options for name in as_list(option.get("type"))))
        choices = [choice for option in options for choice in option.get("enum", [])]
        items = [option["items"] for option in options if "items" in option]
        merged: dict[str, Any] = {"type": names[0] if len(names) == 1 else names} if names else {}
        return merged | ({"items": items[0]} if items else {}) | ({"enum": choices} if choices else {})
    if origin is typing.Literal:
        values = list(typing.get_args(annotation))
        return (
            {"type": TYPE_NAMES[type(values[0])], "enum": values} if isinstance(values[0], str) else {"type": "boolean"}
        )
    if origin is list:
        return {"type": "array", "items": type_schema(typing.get_args(annotation)[0])}
    if origin is dict:
        return {"type": "object"}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"type": "string", "enum": [member.value for member in annotation]}
    return {"type": TYPE_NAMES[annotation]} if annotation in TYPE_NAMES else {}


def limit_to(schema: dict[str, Any], choices: list[str]) -> None:
    """Allow only `choices` as text, be it the value itself or an item of a list."""
    if "array" in as_list(schema.get("type")):
        schema["items"] = {"type": "string", "enum": choices}
    else:
        schema["enum"] = choices


def as_list(value: Any) -> list[Any]:
    """Return JSON Schema's `type`, which is a name or a list of names, as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def shortened(text: str) -> str:
    """Return the beginning of a help text, whole sentences where they fit."""
    text = " ".join(text.replace("%%", "%").split())
    if len(text) <= DESCRIPTION_LENGTH:
        return text
    sentences = re.match(rf"(.{{1,{DESCRIPTION_LENGTH}}}\.)\s", text)
    return sentences.group(1) if sentences else text[:DESCRIPTION_LENGTH].rsplit(" ", 1)[0] + " …"


def generation_properties(config_class: type) -> dict[str, dict[str, Any]]:
    """Return the keys of transformers.GenerationConfig; their types stand in its docstring only."""
    known = {key for key in vars(config_class()) if not key.startswith("_")}
    entry = re.compile(r"^ {8}(\w+):? \((.+)\):?\n((?: {12}.*\n|\n)*)", re.MULTILINE)
    return {
        name: docstring_type(kind) | {"description": shortened(text)}
        for name, kind, text in entry.findall(config_class.__doc__)
        if name in known
    }


def left_to_the_section(key: str) -> bool:
    """Whether `generation:` refuses a key of GenerationConfig, or checks it itself."""
    return refusal("generation", key) is not None or key in GenerationSection.model_fields


def docstring_type(text: str) -> dict[str, Any]:
    """Return the JSON Schema of a type such as "`int` or `list[int]`, *optional*"."""
    words = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
    words |= {"list": "array", "tuple": "array", "dict": "object"}
    outer = text.lower().replace("union[", "").replace("optional[", "")
    while (inner := re.sub(r"\[[^\[\]]*\]|\([^()]*\)", "", outer)) != outer:
        outer = inner
    names = list(dict.fromkeys(words[word] for word in re.findall(r"[a-z]+", outer) if word in words))
    return {"type": [*names, "null"]} if names else {}
