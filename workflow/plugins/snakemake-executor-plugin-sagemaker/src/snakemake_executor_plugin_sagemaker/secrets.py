"""Secrets travel by reference only; everything that leaves this machine is searched for their values.

`NAME=ssm:/path` names a parameter of SSM (SecureString), `NAME=secretsmanager:ARN` a secret of Secrets Manager,
`NAME=secretsmanager:ARN#KEY` one key of a secret that holds a JSON object. A job resolves them with its execution role.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

_SSM, _SECRETS_MANAGER = "ssm:", "secretsmanager:"
_PLACES = (_SSM, _SECRETS_MANAGER, "/", "http://", "https://")  # a secret's place, as in …_CREDENTIALS=/path, is none
_SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|SECRETS|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|API_KEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY"
    r"|AUTH|PAT|CONNECTION_STRING)($|_)"
    r"|PASSWORD|(^|_)KEY$|(^|_|SSH)PASS$|._PWD$",  # PWD itself is the current folder
    re.IGNORECASE,
)
_USERINFO = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]*:(?P<password>[^/?#\s]+)@", re.IGNORECASE)
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
_LONG = 20  # values of JSON that are as long do not occur by chance
_LONGEST = 32768
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


def password_in_url(value: str) -> str | None:
    """Return the password that a URL in VALUE carries (https://user:password@host), None when there is none."""
    found = _USERINFO.search(value)
    return found["password"] if found else None


def forms_of(value: str) -> set[bytes]:
    """Return how a secret may stand in a text: as it is, in JSON, in a URL, in hexadecimal, in base64 of more."""
    data = value.encode()
    forms = {data, json.dumps(value)[1:-1].encode(), json.dumps(value, ensure_ascii=False)[1:-1].encode()}
    forms |= {text.encode() for text in (quote(value, safe=""), quote(value), quote_plus(value), data.hex())}
    forms.add(base64.b64encode(data))
    for before in range(3):  # a letter of base64 is of several bytes: those at the ends depend on what is beside
        encoded = base64.b64encode(bytes(before) + data)[(0, 2, 3)[before] :]
        inner = encoded[: -4 if encoded.endswith(b"=") else None].rstrip(b"=")
        forms |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return {form for form in forms if len(form) >= _SHORTEST}


def parts_of(value: str) -> Iterator[tuple[str, bool]]:
    """Yield (part, telling) of a secret of several lines or of JSON; telling parts stand nowhere by chance."""
    try:
        content = json.loads(value)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict | list):
        yield from _texts(content, False)
    if (password := password_in_url(value)) is not None:
        yield password, True
    if "\n" in value:
        yield from ((line.strip(), False) for line in value.splitlines())


def _texts(value: object, telling: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, looks_secret(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, telling)
    elif isinstance(value, str):
        yield value, telling or len(value) >= _LONG


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
        self._values: dict[bytes, str] = {}
        shown: set[bytes] = set()
        for name, value in secrets.items():
            if not value.startswith(_PLACES) or password_in_url(value) is not None:
                for part, telling in [(value, True), *parts_of(value)]:
                    if len(part) >= _SHORTEST:
                        forms = forms_of(part)
                        shown |= forms
                        self._values |= dict.fromkeys(forms, name) if telling else {}
        self._redacted = sorted(shown, key=len, reverse=True)
        self._formats = {name: re.compile(pattern) for name, pattern in _FORMATS.items()} if formats else {}

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], more: Mapping[str, str] | None = None) -> "LeakGuard":
        """Return a guard for all variables of ENVIRONMENT that look secret, and for MORE."""
        secret = {
            name: value
            for name, value in environment.items()
            if looks_secret(name) or password_in_url(value) is not None
        }
        return cls(secret | dict(more or {}))

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
        """Return DATA with every known value replaced, also its parts and the forms that it takes on its way."""
        for form in self._redacted:
            if form in data:
                data = data.replace(form, REDACTED)
        return data

    @property
    def longest(self) -> int:
        """The length of the longest form of a secret: so much must be seen at once to find it."""
        return len(self._redacted[0]) if self._redacted else 0
