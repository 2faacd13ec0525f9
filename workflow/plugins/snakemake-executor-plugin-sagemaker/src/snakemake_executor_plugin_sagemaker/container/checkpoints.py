"""What a host keeps in /opt/ml/checkpoints, brought to S3 by the container itself before it ends.

SageMaker copies this folder to S3 while a container trains, and no more when the job is terminated (AWS's page
"SageMaker AI environment variables and the default paths for training storage locations": "Writes to S3 when job is
terminated: No"). So the checkpoint that a program writes after SIGTERM, the most valuable of all, would be lost, and so
would what was deleted last come back. From SIGTERM on, and at every end, this module does what is left to do: small
files first, so that adapters are safe at once; a file that SageMaker has copied already is not sent again.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config

_LOOK = 0.5  # seconds between two looks at the folder
_STREAMS = 32  # S3 gives one connection about 100 MB/s
_PART = 32 << 20
_SHOWN = 3  # names of lost files in a sentence

_State = tuple[int, int]  # size and time of change (ns) of a file


class Checkpoints:
    """One host's FOLDER and its place on S3. Hosts share the place: each deletes only what it has had itself.

    Every host is brought what all have kept. What one of them deletes and another writes anew, as a checkpoint of the
    same step, stays.
    """

    def __init__(self, folder: Path, bucket: str, prefix: str, encryption: dict[str, str]):
        """ENCRYPTION: arguments of uploads."""
        self._folder, self._bucket, self._prefix, self._encryption = folder, bucket, prefix, encryption
        config = Config(max_pool_connections=_STREAMS, retries={"mode": "standard", "max_attempts": 5})
        self._client = boto3.client("s3", config=config)
        transfer = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=_STREAMS)
        self._manager = create_transfer_manager(self._client, transfer)
        self._brought = self._look()  # by SageMaker, from S3, with times that are later than there
        self._seen = set(self._brought)
        self._sent: dict[str, tuple[_State, object]] = {}
        self._hurried, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Send from now on what is not changed any more: the job is being terminated."""
        self._hurried.set()

    def _watch(self) -> None:
        before: dict[str, _State] = {}
        objects = None
        while not self._over.wait(_LOOK):
            now = self._look()
            self._seen |= now.keys()
            if self._hurried.is_set():
                with contextlib.suppress(Exception):  # `finish` tells of what goes on failing
                    objects = self._objects() if objects is None else objects
                    self._send({name: state for name, state in now.items() if before.get(name) == state}, objects)
            before = now

    def _look(self) -> dict[str, _State]:
        found = {}
        for parent, _, names in os.walk(self._folder):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    stat = path.stat()
                    found[path.relative_to(self._folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _objects(self) -> dict[str, _State]:
        """Return size and time of all that is on S3, by the names that files have here."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        return {
            found["Key"].removeprefix(f"{self._prefix}/"): (
                found["Size"],
                int(found["LastModified"].timestamp()) * 10**9,
            )
            for page in pages
            for found in page.get("Contents", [])
        }

    def _is_there(self, name: str, state: _State, objects: dict[str, _State]) -> bool:
        """Say whether S3 has a file as it is now: the time of an object is that of the beginning of its upload."""
        size, since = objects.get(name, (-1, 0))
        return size == state[0] and (since > state[1] or self._brought.get(name) == state)

    def _send(self, files: dict[str, _State], objects: dict[str, _State]) -> None:
        """Begin to upload those of FILES that S3 has not, unless that has begun already; small ones first."""
        for name, state in sorted(files.items(), key=lambda item: (item[1][0], item[0])):
            if self._is_there(name, state, objects) or self._arrived(name, state) is not False:
                continue
            upload = self._manager.upload(
                str(self._folder / name), self._bucket, f"{self._prefix}/{name}", extra_args=dict(self._encryption)
            )
            self._sent[name] = state, upload

    def _arrived(self, name: str, state: _State) -> bool | None:
        """Say whether this file was uploaded as it is now: None while it is on its way, False if it has to be sent."""
        sent, upload = self._sent.get(name, (None, None))
        if sent != state:
            return False
        return _succeeded(upload) if upload.done() else None

    def finish(self, seconds_left: Callable[[], float]) -> str:
        """Bring to S3 what is not there, delete there what was deleted here, and return a sentence of what was kept.

        SECONDS_LEFT says how long the container may still live. Raises nothing: the job's own end counts.
        """
        self._over.set()
        self._thread.join()
        files = self._look()
        self._seen |= files.keys()
        trouble, objects = "", {}
        try:
            objects = self._objects()
            self._send(files, objects)
        except Exception as error:  # noqa: BLE001 - a person has to read it, whatever it is
            trouble = f" ({type(error).__name__}: {error})"
        waiting = [upload for _, upload in self._sent.values()]
        while seconds_left() > 0 and not all(upload.done() for upload in waiting):
            time.sleep(0.05)
        lost = {
            name: state[0]
            for name, state in files.items()
            if not (self._is_there(name, state, objects) or self._arrived(name, state))
        }
        removed = []
        if not lost:  # of a checkpoint that an incomplete one replaces nothing may be taken away
            gone = self._gone(files) if objects else []
            removed = [self._manager.delete(self._bucket, f"{self._prefix}/{name}") for name in gone]
        trouble = trouble or _first_error(waiting)
        return self._sentence(files, lost, trouble) + _removal_failure(removed)

    def _gone(self, files: dict[str, _State]) -> list[str]:
        """Return what is on S3 of that which this host has had and has not any more, unless another wrote it anew."""
        with contextlib.suppress(Exception):  # what stays costs little; the sentence tells of S3's trouble
            objects = self._objects()  # as it is now: other hosts have sent theirs meanwhile
            gone = (self._seen & objects.keys()) - files.keys()
            return sorted(
                name for name in gone if name not in self._brought or objects[name][1] <= self._brought[name][1]
            )
        return []

    def close(self) -> None:
        """End what is still under way: uploads that came too late leave no part behind that would be paid for."""
        for _, upload in self._sent.values():
            if not upload.done():
                upload.cancel()
        self._manager.shutdown()

    def _sentence(self, files: dict[str, _State], lost: dict[str, int], trouble: str) -> str:
        place = f"s3://{self._bucket}/{self._prefix}"
        if not lost:
            size = sum(state[0] for state in files.values())
            return f"checkpoints: all {len(files)} files ({_amount(size)}) are kept at {place}"
        names = ", ".join(sorted(lost)[:_SHOWN]) + (", …" if len(lost) > _SHOWN else "")
        return (
            f"checkpoints: {len(lost)} of {len(files)} files ({_amount(sum(lost.values()))}) did not get to {place} in "
            f"time and are lost: {names}; the next start goes on from what was complete before{trouble}"
        )


def _succeeded(upload) -> bool:
    try:
        upload.result()
    except Exception:  # noqa: BLE001 - whatever it is, the file is not there
        return False
    return True


def _first_error(uploads: list) -> str:
    for upload in uploads:
        if upload.done():
            try:
                upload.result()
            except Exception as error:  # noqa: BLE001 - as above
                return f" ({type(error).__name__}: {error})"
    return ""


def _removal_failure(removals: list) -> str:
    failed = sum(not _succeeded(removal) for removal in removals)
    return f"; {failed} deleted files are still there{_first_error(removals)}" if failed else ""


def _amount(size: int) -> str:
    return f"{size / 10**9:.1f} GB" if size >= 10**8 else f"{size / 10**6:.1f} MB"
