"""What the platform moves between S3 and a host's /opt/ml: input channels, checkpoints, model and output."""

import contextlib
import io
import os
import tarfile
import threading
from pathlib import Path

from .errors import validation_error


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; the key without slashes at its ends."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key.strip("/")


def download(s3, uri: str, folder: Path) -> None:
    """Every object below the prefix (or the one object) `uri` into `folder`."""
    bucket, prefix = split_uri(uri)
    for key in _keys(s3, bucket, prefix):
        if key == prefix:
            relative = key.rpartition("/")[2]
        elif key.startswith(f"{prefix}/") or not prefix:
            relative = key.removeprefix(prefix).lstrip("/")
        else:
            continue  # S3 prefixes are strings: `data/a` also lists `data/ab`
        if not relative.endswith("/") and relative:
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(path))


def _keys(s3, bucket: str, prefix: str):
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield found["Key"]


def upload_result(s3, source: Path, uri: str, name: str, compression: str) -> None:
    """/opt/ml/model or /opt/ml/output/data: one NAME.tar.gz, or the files below NAME/."""
    bucket, prefix = split_uri(uri)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if compression == "NONE":
        for path in files:
            s3.upload_file(str(path), bucket, f"{prefix}/{name}/{path.relative_to(source).as_posix()}")
        return
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(source, arcname=".")
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}.tar.gz", Body=packed.getvalue())


def checkpoint_folder(request: dict) -> str | None:
    """The checkpoints' folder below /opt/ml, or None for a job without. Raises AwsError for one outside."""
    config = request.get("CheckpointConfig")
    if config is None:
        return None
    path = os.path.normpath(config.get("LocalPath", "/opt/ml/checkpoints"))
    if not path.startswith("/opt/ml/"):
        raise validation_error(f"The loopback mirrors checkpoints below /opt/ml only, not {path}.")
    return path.removeprefix("/opt/ml/")


class CheckpointMirror:
    """One host's checkpoints folder, copied to S3 as it changes, deletions too.

    As on SageMaker: what lies on S3 when the host starts is copied down once; what other hosts add later isn't; all
    hosts write below one prefix. Files are copied as they are, so that a half-written one arrives half-written. When
    the job is terminated, nothing is copied any more (AWS's page on the default paths for training storage locations:
    "Writes to S3 when job is terminated: No").
    """

    def __init__(self, s3, uri: str, folder: Path, interval: float):
        self._s3, self._folder, self._interval = s3, folder, interval
        self._bucket, self._prefix = split_uri(uri)
        folder.mkdir(parents=True, exist_ok=True)
        download(s3, uri, folder)
        self._known = self._look()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._copy()

    def stop(self) -> None:
        """Copy no further file."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> dict[str, tuple[int, int]]:
        """Each file's size and time of change; a file that vanishes meanwhile isn't there."""
        found = {}
        for parent, _, names in os.walk(self._folder):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    found[path.relative_to(self._folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _copy(self) -> None:
        now = self._look()
        for name in [name for name in now if now[name] != self._known.get(name)]:
            if self._stop.is_set():
                return
            try:
                content = (self._folder / name).read_bytes()
            except FileNotFoundError:
                now.pop(name)
                continue
            self._s3.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=content)
        for name in self._known.keys() - now.keys():
            self._s3.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
        self._known = now
