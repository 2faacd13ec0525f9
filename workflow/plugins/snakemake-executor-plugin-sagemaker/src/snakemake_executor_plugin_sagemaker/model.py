"""Requests checked against botocore's own model of the API, including what botocore leaves to the server.

botocore checks types and required members; lengths, patterns, ranges and enumerations are in the same model, and a
request that breaks them would be refused by AWS only when the first job is submitted.
"""

import functools
import re

import botocore
import botocore.session


@functools.cache
def _service(name: str):
    return botocore.session.Session().get_service_model(name)


def request_shape(operation: str, service: str = "sagemaker"):
    """Return the shape of the input of OPERATION."""
    return _service(service).operation_model(operation).input_shape


def instance_types() -> frozenset[str]:
    """Return the instance types that this version of botocore knows for training jobs."""
    return frozenset(request_shape("CreateTrainingJob").members["ResourceConfig"].members["InstanceType"].enum)


def problems(operation: str, request: dict) -> list[str]:
    """Return what is wrong with REQUEST, a sentence a mistake, each with the path of the member."""
    return list(_check(request_shape(operation), request, ""))


def _check(shape, value, path: str):
    kind = shape.type_name
    if kind == "structure":
        yield from _check_structure(shape, value, path)
    elif kind == "list":
        if isinstance(value, list | tuple):
            yield from _check_range(shape, len(value), f"{path} has {len(value)} items")
            for position, item in enumerate(value):
                yield from _check(shape.member, item, f"{path}[{position}]")
        else:
            yield f"{path} must be a list, not {value!r}"
    elif kind == "map":
        yield from _check_range(shape, len(value), f"{path} has {len(value)} entries")
        for key, item in value.items():
            yield from _check(shape.key, key, f"{path} key")
            yield from _check(shape.value, item, f"{path}.{key}")
    elif kind == "string":
        yield from _check_string(shape, value, path)
    elif kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path} must be a whole number, not {value!r}"
        else:
            yield from _check_range(shape, value, f"{path} is {value}")
    elif kind == "boolean" and not isinstance(value, bool):
        yield f"{path} must be true or false, not {value!r}"


def _check_structure(shape, value, path: str):
    for name in shape.required_members:
        if name not in value:
            yield f"{path}.{name} is missing".lstrip(".")
    for name, item in value.items():
        if name not in shape.members:
            yield f"{path}.{name} is unknown to botocore {botocore.__version__}".lstrip(".")
        else:
            yield from _check(shape.members[name], item, f"{path}.{name}".lstrip("."))


def _check_string(shape, value, path: str):
    if not isinstance(value, str):
        yield f"{path} must be text, not {value!r}"
        return
    shown = value if len(value) <= 60 else f"{value[:57]}…"
    yield from _check_range(shape, len(value), f"{path} ({shown!r}) has {len(value)} characters")
    if shape.enum and value not in shape.enum:
        yield f"{path} is {shown!r}, which botocore {botocore.__version__} does not know; a newer boto3 may"
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(_python_pattern(pattern), value):
        yield f"{path} is {shown!r}, which does not match {pattern}"


def _check_range(shape, number: int, subject: str):
    if number < shape.metadata.get("min", number):
        yield f"{subject}, fewer than {shape.metadata['min']}"
    if number > shape.metadata.get("max", number):
        yield f"{subject}, more than {shape.metadata['max']}"


def _python_pattern(pattern: str) -> str:
    """Return a pattern of Java's kind for Python's re, which has no classes of Unicode properties."""
    for java, python in ((r"\p{L}", r"\w"), (r"\p{Z}", " "), (r"\p{N}", r"\d"), (r"\p{Alnum}", "a-zA-Z0-9")):
        pattern = pattern.replace(java, python)
    return pattern
