"""Check the keys that a section passes through to transformers or TRL, without importing either.

Their names, types and choices stand in workflow/schemas/training_arguments/ and workflow/schemas/model_configs.json,
generated from the pinned versions.
"""

import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from heirloom.config.arguments.optimizers import former_optimizer_warning, optimizer_problems
from heirloom.config.arguments.refused_arguments import RENAMED, RENAMED_IN_CONFIGURATIONS, refusal
from heirloom.config.arguments.schedules import schedule_problems
from heirloom.config.parsing.mistakes import did_you_mean, explain

SCHEMAS = Path(__file__).resolve().parents[4] / "workflow" / "schemas"
ARGUMENTS = SCHEMAS / "training_arguments"
MODEL_CONFIGS = SCHEMAS / "model_configs.json"
TYPES = {"integer": int, "number": float, "boolean": bool, "string": str, "object": dict[str, Any], "null": None}


def argument_problems(
    section: str,
    library: str,
    arguments: dict[str, Any],
    elsewhere: Callable[[str, str], str | None] = lambda section, key: None,
    beside: Iterable[str] = (),
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield (nested keys, sentence) for each of `arguments` that the library's class cannot take.

    `section` is training or generation; `library` names a file of workflow/schemas/training_arguments/: a trainer,
    or generation_config. `elsewhere` says of an unknown key of a section where else it stands. `beside` are the keys of
    the section that are not the library's: an unknown one may be meant for them too.
    """
    known = argument_schemas(library)
    checked = {}
    for key, value in arguments.items():
        reason = refusal(section, key, known)
        if reason is not None and (section == "generation" or key in known or key in RENAMED or known_elsewhere(key)):
            yield (key,), reason
        elif key not in known:
            usable = [name for name in known if refusal(section, name, known) is None]
            remedy = elsewhere(section, key) or did_you_mean(key, [*usable, *beside])
            yield (key,), f"{known_title(library)} has no such key; {remedy}"
        elif former_optimizer_warning(value if key == "optim" else None) is None:
            checked[key] = value
    if section == "generation":
        infinite = [key for key, value in arguments.items() if isinstance(value, float) and not math.isfinite(value)]
        yield from (((key,), f"expected a finite number, found {arguments[key]}") for key in infinite)
        checked = {key: value for key, value in checked.items() if key not in infinite}
    if section == "training":
        yield from contradictions(arguments)
        yield from out_of_range(arguments)
        yield from schedule_problems(arguments)
        yield from optimizer_problems(arguments)
    try:
        arguments_model(library).model_validate(checked)
    except ValidationError as error:
        yield from explain(error, arguments_model(library), checked)


def contradictions(arguments: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield keys of `training` that cancel each other, or that have no effect beside the others."""
    if arguments.get("max_steps", NO_LIMIT) != NO_LIMIT and "num_train_epochs" in arguments:
        yield ("num_train_epochs",), "has no effect beside max_steps, which ends the training; delete one of them"
    if "eval_steps" in arguments and arguments.get("eval_strategy") != "steps":
        yield ("eval_steps",), "has no effect without eval_strategy: steps; add that or delete it"
    losses, weights = arguments.get("loss_type", ["sigmoid"]), arguments.get("loss_weights")
    if isinstance(weights, list) and isinstance(losses, list) and len(weights) != len(losses):
        yield ("loss_weights",), f"needs as many numbers as loss_type has losses, {len(losses)}, found {len(weights)}"
    if arguments.get("bf16") is True and arguments.get("fp16") is True:
        yield ("fp16",), "cannot be true beside bf16; delete one of them"


NO_LIMIT = -1
"""max_steps: what transformers takes for none."""
RANGES = {
    "learning_rate": (0, None), "weight_decay": (0, None), "max_grad_norm": (0, None), "adam_epsilon": (0, None),
    "adam_beta1": (0, 1), "adam_beta2": (0, 1), "num_train_epochs": (0, None), "max_steps": (1, None),
    "warmup_steps": (0, None), "warmup_ratio": (0, 1), "seed": (0, 2**32 - 1), "data_seed": (0, 2**32 - 1),
    "per_device_eval_batch_size": (1, None), "label_smoothing_factor": (0, 1), "beta": (0, None),
}  # fmt: skip
"""Key of `training` → the least and the greatest value with a meaning; the libraries check none before they train."""
ABOVE = ("num_train_epochs",)
"""Keys whose least value has no meaning either: no epoch is no training."""
BELOW = ("adam_beta1", "adam_beta2")
"""Keys whose greatest value has none: a mean that takes up nothing, which torch refuses."""


def out_of_range(arguments: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield keys of `training` whose numbers no training can work with."""
    for key, (least, most) in RANGES.items():
        value = arguments.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if key == "max_steps" and value == NO_LIMIT:
                continue
            if key in ABOVE and value <= least:
                yield (key,), f"expected more than {least}, found {value}"
            elif value < least:
                yield (key,), f"expected at least {least}, found {value}"
            elif key in BELOW and value >= most:
                yield (key,), f"expected less than {most}, found {value}"
            elif most is not None and value > most:
                yield (key,), f"expected at most {most}, found {value}"


def known_elsewhere(key: str) -> bool:
    """Whether the arguments of any trainer have the key, such as `packing` of SFT in a DPO run."""
    return any(key in argument_schemas(file.stem) for file in sorted(ARGUMENTS.glob("*.json")))


@functools.cache
def argument_file(library: str) -> dict[str, Any]:
    """Return a generated description of one of the libraries' argument classes."""
    return json.loads((ARGUMENTS / f"{library}.json").read_text(encoding="utf-8"))


def argument_schemas(library: str) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each key of a trainer's arguments (or of generation_config)."""
    return argument_file(library)["properties"]


def known_title(library: str) -> str:
    """Return the class and its version: `trl.SFTConfig 1.16.0`."""
    return argument_file(library)["title"]


def as_the_library_wants(library: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with whole numbers as floats where the library has floats: some of it refuses `2` for `2.0`."""
    kinds = {key: schema.get("type", []) for key, schema in argument_schemas(library).items()}
    floats = {key for key, kind in kinds.items() if "number" in kind and "integer" not in kind}
    return {key: float(value) if key in floats and type(value) is int else value for key, value in arguments.items()}


@functools.cache
def arguments_model(library: str) -> type[BaseModel]:
    """Return a pydantic model of a trainer's arguments, built from the generated schema."""
    return built_model(argument_schemas(library))


def built_model(schemas: dict[str, dict[str, Any]]) -> type[BaseModel]:
    """Return a pydantic model that checks types and choices as the JSON Schemas of its keys say."""
    fields = {key: (annotation(schema), None) for key, schema in schemas.items()}
    return create_model("Arguments", __config__=ConfigDict(strict=True, protected_namespaces=()), **fields)


# ---- configurations of fresh models ----


@functools.cache
def model_configs() -> dict[str, Any]:
    """Return the generated description of the configuration classes of models that can be trained from scratch."""
    return json.loads(MODEL_CONFIGS.read_text(encoding="utf-8"))


def config_problems(model_type: str, keys: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield (nested keys, sentence) for what is wrong with the configuration of a fresh model."""
    title, models = model_configs()["title"], model_configs()["models"]
    if model_type not in models:
        yield ("model_type",), f"{title} trains no {model_type}; {did_you_mean(model_type, models)}"
        return
    for key in keys.keys() - models[model_type].keys():
        remedy = RENAMED_IN_CONFIGURATIONS.get(key) or did_you_mean(key, models[model_type])
        yield (key,), f"{model_type} of {title} has no such key; {remedy}"
    known = {key: value for key, value in keys.items() if key in models[model_type]}
    model = built_model({key: {"type": models[model_type][key]} for key in known})
    try:
        model.model_validate(known)
    except ValidationError as error:
        yield from explain(error, model, known)
    else:
        yield from head_problems(model_type, known)


def head_problems(model_type: str, keys: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the numbers of attention heads that do not divide, where the file gives both numbers.

    A model whose heads have a size of their own (`head_dim`, or several of them) needs no `hidden_size` that divides.
    """
    sizes = {key: kinds for key, kinds in model_configs()["models"][model_type].items() if key.endswith("head_dim")}
    derived = "head_dim" not in keys and all(key == "head_dim" and "null" in kinds for key, kinds in sizes.items())
    pairs = [("num_attention_heads", "num_key_value_heads"), *([("hidden_size", "num_attention_heads")] * derived)]
    for whole, part in pairs:
        total, count = keys.get(whole), keys.get(part)
        if total is not None and count is not None and (count < 1 or total % count):
            yield (part,), f"{count} heads do not divide {whole}, {total}; give a number that does"


LIMITS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
LENGTHS = {"array": {"minItems": "min_length", "maxItems": "max_length"}, "string": {"minLength": "min_length"}}
"""JSON Schema's keywords, and what pydantic calls the same."""


def annotation(schema: dict[str, Any]) -> Any:
    """Return the Python type of a key's JSON Schema, with the limits of its numbers, lists and texts."""
    options: list[Any] = []
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        words = LIMITS if kind in ("integer", "number") else LENGTHS.get(kind, {})
        limits = {word: schema[keyword] for keyword, word in words.items() if keyword in schema}
        option: Any = None
        if kind == "array":
            option = list[annotation(schema["items"])] if "items" in schema else list
        elif not ("enum" in schema and kind == "string"):
            option = TYPES[kind]
        if option is not None or kind == "null":
            options.append(Annotated[option, Field(**limits)] if limits else option)
    if "enum" in schema:
        options.append(Literal[tuple(choice for choice in schema["enum"] if isinstance(choice, str))])
    return functools.reduce(lambda left, right: left | right, options[1:], options[0]) if options else Any
