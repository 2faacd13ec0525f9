"""Content-addressed objects below one S3 prefix: no object is ever changed or deleted, so no job can spoil another.

    PREFIX/objects/<sha256>          sources, inputs, outputs, logs, job files
    PREFIX/results/<training job>    what a training job returned; a job's name is unique for ever
    PREFIX/checkpoints/<key>/        what a job keeps for being resumed; what it deletes is deleted here
    PREFIX/output/                   SageMaker's own, stays empty

Objects are put again when they are used again, so that a lifecycle rule by age removes only what nobody uses.
"""

import hashlib
import secrets
from pathlib import Path

LARGEST_RESULT = 1 << 26
"""Bytes of what a job returned: 200 000 files."""


class DamagedObjectError(Exception):
    """An object's content is not what its key promises."""


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of an s3:// URI; the key has no slash at its ends.

    Raises ValueError when URI is no s3:// URI with a bucket.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"{uri!r} is no S3 prefix; expected s3://BUCKET/PREFIX")
    return bucket, key.strip("/")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ObjectStore:
    """Puts and gets objects below PREFIX with a boto3 S3 client."""

    def __init__(self, client, prefix: str, kms_key: str | None = None):
        self._client = client
        self._bucket, self._key = split_uri(prefix)
        self.encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        self._put = set()

    def uri(self, *parts: str) -> str:
        """Return the URI of PARTS below the prefix."""
        return "s3://" + "/".join(self.location(*parts))

    def location(self, *parts: str) -> tuple[str, str]:
        """Return bucket and key of PARTS below the prefix."""
        return self._bucket, self._path(*parts)

    def _path(self, *parts: str) -> str:
        return "/".join(filter(None, (self._key, *parts)))

    def put_bytes(self, data: bytes) -> str:
        """Store DATA and return its SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._put:
            self._client.put_object(
                Bucket=self._bucket, Key=self._path("objects", digest), Body=data, **self.encryption
            )
            self._put.add(digest)
        return digest

    def put_file(self, path: Path) -> str:
        """Store a file, in parts when it is large, and return its SHA-256."""
        digest = file_sha256(path)
        if digest not in self._put:
            self._client.upload_file(str(path), self._bucket, self._path("objects", digest), ExtraArgs=self.encryption)
            self._put.add(digest)
        return digest

    def get_bytes(self, digest: str) -> bytes:
        """Return the object's content. Raises DamagedObjectError when it is not the one asked for."""
        data = self._client.get_object(Bucket=self._bucket, Key=self._path("objects", digest))["Body"].read()
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedObjectError(f"{self.uri('objects', digest)} was changed after it was stored")
        return data

    def get_file(self, digest: str, target: Path) -> None:
        """Write the object's content to TARGET, which appears complete or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
        partial.touch(exist_ok=False)  # with the rights that the user's umask gives
        try:
            self._client.download_file(self._bucket, self._path("objects", digest), str(partial))
            if file_sha256(partial) != digest:
                raise DamagedObjectError(f"{self.uri('objects', digest)} was changed after it was stored")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def sizes(self, *parts: str) -> list[int]:
        """Return the bytes of each object below PARTS."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._path(*parts)}/"
        )
        return [found["Size"] for page in pages for found in page.get("Contents", [])]

    def put_result(self, training_job: str, data: bytes) -> None:
        """Store what TRAINING_JOB returned; a later start of the same job (spot) replaces it."""
        self._client.put_object(
            Bucket=self._bucket, Key=self._path("results", f"{training_job}.json"), Body=data, **self.encryption
        )

    def get_result(self, training_job: str) -> bytes | None:
        """Return what TRAINING_JOB returned, None when nothing; of more than LARGEST_RESULT the beginning."""
        key = self._path("results", f"{training_job}.json")
        try:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read(LARGEST_RESULT + 1)
        except self._client.exceptions.NoSuchKey:
            return None
