"""The IAM policies of SECURITY.md, as they are for the bucket and the role of the tests."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROLE, PERSON = "arn:aws:iam::123456789012:role/heirloom", "person"
DOCUMENT = Path(__file__).resolve().parents[2] / "SECURITY.md"
VALUES = {"ACCOUNT": "123456789012", "REGION": "us-east-1", "BUCKET": "heirloom"}
Right = tuple[str, int, str, str]
"""Whose policy, the statement's number, Action or Resource, and one value of its list."""


def policies() -> dict[str, dict]:
    """Return the policies of the jobs' role and of a person who submits."""
    found = re.findall(r"^```json\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    texts = [re.sub("|".join(VALUES), lambda name: VALUES[name[0]], text) for text in found]
    role, person = map(json.loads, texts)
    return {ROLE: role, PERSON: person}


def rights() -> Iterator[Right]:
    """Yield each action, and each resource, of the policies."""
    for name, policy in policies().items():
        for number, statement in enumerate(policy["Statement"]):
            for part in ("Action", "Resource"):
                for value in statement[part] if part == "Action" or len(statement[part]) > 1 else ():
                    yield name, number, part, value


def without(right: Right) -> dict[str, dict]:
    """Return the policies, one right taken away."""
    name, number, part, value = right
    left = copy.deepcopy(policies())
    statement = left[name]["Statement"][number]
    statement[part].remove(value)
    if not statement[part]:
        left[name]["Statement"].remove(statement)
    return left
