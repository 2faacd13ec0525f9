"""Secrets travel by reference only; everything that leaves this machine is searched for their values.

`NAME=ssm:/path` names a parameter of SSM (SecureString), `NAME=secretsmanager:ARN` a secret of Secrets Manager,
`NAME=secretsmanager:ARN#KEY` one key of a secret that holds a JSON object. A job resolves them with its execution role.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

_SSM, _SECRETS_MANAGER = "ssm:", "secretsmanager:"
_PLACES = (_SSM, _SECRETS_MANAGER, "/", "http://", "https://")  # a secret's place, as in …_CREDENTIALS=/path, is none
_SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|SECRETS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|API_KEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY"
    r"|AUTH)($|_)",
    re.IGNORECASE,
)
# Formats that say by themselves that they are secrets, as GitHub's secret scanning knows them.
_FORMATS = {
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}\b",
    "an AWS access key": rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b",
    "an API key of OpenAI's kind": rb"\bsk-[A-Za-z0-9_-]{32,}\b",
    "a Slack token": rb"\bxox[abprs]-[A-Za-z0-9-]{20,}\b",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
}
_SHORTEST = 8  # shorter values occur by chance
_LONGEST = 8192
_CHUNK = 1 << 22
REDACTED = b"[secret]"


class PlainTextSecretError(Exception):
    """Something that is about to leave this machine holds a secret."""


def is_reference(value: str) -> bool:
    """Say whether VALUE names a secret's place instead of being one."""
    return value.startswith((_SSM, _SECRETS_MANAGER))


def looks_secret(name: str) -> bool:
    """Say whether a variable called NAME usually holds a secret (HF_TOKEN does, TOKENIZERS_PARALLELISM does not)."""
    return bool(_SECRET_NAME.search(name))


def resolve(reference: str, client: Callable[[str], object]) -> str:
    """Return the value of the secret that REFERENCE names; CLIENT makes a boto3 client of a service's name.

    Raises ValueError when the secret has no such key, botocore's errors when it cannot be read.
    """
    if reference.startswith(_SSM):
        answer = client("ssm").get_parameter(Name=reference.removeprefix(_SSM), WithDecryption=True)
        return answer["Parameter"]["Value"]
    arn, _, key = reference.removeprefix(_SECRETS_MANAGER).partition("#")
    text = client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    if not key:
        return text
    content = json.loads(text)
    if not isinstance(content, dict) or key not in content:
        raise ValueError(f"the secret {arn} has no key {key}; set it there or correct the part behind #")
    return str(content[key])


class LeakGuard:
    """Knows the values of secrets, and finds them in bytes."""

    def __init__(self, secrets: Mapping[str, str], formats: bool = True):
        """SECRETS: name → value. FORMATS: also refuse what looks like a well-known kind of token."""
        self._values = {
            value.encode(): name
            for name, value in secrets.items()
            if len(value) >= _SHORTEST and not value.startswith(_PLACES)
        }
        self._formats = {name: re.compile(pattern) for name, pattern in _FORMATS.items()} if formats else {}

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], more: Mapping[str, str] | None = None) -> "LeakGuard":
        """Return a guard for all variables of ENVIRONMENT whose names look secret, and for MORE."""
        return cls({name: value for name, value in environment.items() if looks_secret(name)} | dict(more or {}))

    def check(self, data: bytes | str, where: str) -> None:
        """Raise PlainTextSecretError when DATA holds a secret; WHERE names it, the value is never shown."""
        data = data.encode() if isinstance(data, str) else data
        for value, name in self._values.items():
            if value in data:
                raise PlainTextSecretError(
                    f"{where} holds the value of {name}; remove it and give jobs the secret by reference: "
                    f"{name}=ssm:/… or {name}=secretsmanager:… in sagemaker-environment"
                )
        for kind, pattern in self._formats.items():
            if pattern.search(data):
                raise PlainTextSecretError(
                    f"{where} holds {kind}; remove it and give jobs the secret by reference (sagemaker-environment)"
                )

    def check_file(self, path: Path, where: str) -> None:
        """Check the content of a file of any size."""
        with open(path, "rb") as file:
            kept = b""
            while chunk := file.read(_CHUNK):
                data = kept + chunk
                self.check(data, where)
                kept = data[-_LONGEST:]  # a secret may lie across chunks

    def redact(self, data: bytes) -> bytes:
        """Return DATA with every known value replaced."""
        for value in sorted(self._values, key=len, reverse=True):
            data = data.replace(value, REDACTED)
        return data
