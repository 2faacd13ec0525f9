"""Bring files from S3 and to S3, with the credentials and the endpoint that boto finds in the environment."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from heirloom.artifacts import is_inside
from heirloom.errors import HeirloomError

SCHEME = "s3://"
LISTING = ".heirloom-files"
"""The object under a prefix that names what an upload of ours has left there, and nothing else does."""


@contextmanager
def s3_problems(url: str) -> Iterator[None]:
    """Turn S3's errors into a HeirloomError that says what to do."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except HeirloomError:
        raise
    except (NoCredentialsError, PermissionError) as error:
        raise HeirloomError(f"s3: no access to {url} ({error}): check your AWS credentials and profile") from None
    except FileNotFoundError as error:
        raise HeirloomError(f"s3: there is nothing at {url} ({error}): check bucket and prefix") from None
    except (BotoCoreError, ClientError, OSError) as error:
        raise HeirloomError(f"s3: {url} cannot be reached: {error}") from None


def file_system():
    """Return S3 as a file system that remembers nothing: neither a listing nor the endpoint of an earlier one."""
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)


def download_prefix(url: str, folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Download the objects under s3://bucket/prefix (or one object) whose relative name is `wanted`; return the names.

    Raises HeirloomError when there is none, or when one of these names leads out of `folder`.
    """
    root = url.removeprefix(SCHEME).rstrip("/")
    with s3_problems(url):
        store = file_system()
        names = {}
        for key in sorted(store.find(root)):
            name = key.rpartition("/")[2] if key == root else key.removeprefix(f"{root}/")
            if name and wanted(name):
                if not is_inside(name):
                    raise HeirloomError(
                        f"s3: {url} holds {name!r}, which is no name of a file in a folder: rename it there"
                    )
                names[name] = key
        if not names:
            raise HeirloomError(f"s3: {url} holds no data file: check bucket and prefix")
        for name, key in names.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(key, str(target))
    return list(names)


def check_destination(url: str) -> None:
    """Raise HeirloomError unless s3://bucket/prefix is empty or holds only what earlier uploads left.

    What they left stands in their own list, LISTING, with the sizes.
    """
    left_by_uploads(url)


def left_by_uploads(url: str) -> dict[str, list[int]]:
    """Return name → the sizes that it may have, of what is under a prefix. Raises as `check_destination` does."""
    root = url.removeprefix(SCHEME).rstrip("/")
    with s3_problems(url):
        store = file_system()
        bucket = root.partition("/")[0]
        try:
            store.call_s3("head_bucket", Bucket=bucket)  # its `exists` takes a host that does not answer for a no
        except FileNotFoundError:
            raise HeirloomError(f"s3: there is no bucket {bucket}") from None
        found = {key.removeprefix(f"{root}/"): info["size"] for key, info in store.find(root, detail=True).items()}
        listed = read_listing(store.cat_file(f"{root}/{LISTING}")) if LISTING in found else {}
    found.pop(LISTING, None)
    others = sorted(name for name, size in found.items() if size not in listed.get(name, ()))
    if others:
        raise HeirloomError(
            f"s3: {url} holds other objects ({others[0]}, …) than an upload of this program has left there: choose an "
            "empty prefix, or empty it yourself"
        )
    return {name: listed[name] for name in found}


def read_listing(content: bytes) -> dict[str, list[int]]:
    """Return what LISTING says; nothing when it is damaged."""
    try:
        listed = json.loads(content)
        return {name: [int(size) for size in sizes] for name, sizes in listed.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def upload_folder(folder: Path, url: str, last: str) -> None:
    """Upload a folder's files to s3://bucket/prefix, the file named `last` after all others.

    A reader that waits for `last` never sees half an artifact, also while one replaces another. What an earlier
    upload left under the prefix goes away; LISTING names at every moment all that may be there, so that an upload that
    was interrupted can be replaced too. Raises HeirloomError as `check_destination` does.
    """
    root = url.removeprefix(SCHEME).rstrip("/")
    earlier = left_by_uploads(url)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    names = sorted(sizes, key=lambda name: (name == last, name))
    while_replacing = {name: {*earlier.get(name, ()), *([sizes[name]] if name in sizes else ())} for name in earlier}
    with s3_problems(url):
        store = file_system()
        if last in earlier:
            store.rm_file(f"{root}/{last}")
        put_listing(store, root, {name: [size] for name, size in sizes.items()} | while_replacing)
        for name in sorted(earlier.keys() - sizes.keys() - {last}):
            store.rm_file(f"{root}/{name}")
        for name in names[:-1]:
            store.put_file(str(folder / name), f"{root}/{name}")
        put_listing(store, root, {name: [size] for name, size in sizes.items()})
        store.put_file(str(folder / last), f"{root}/{last}")


def put_listing(store, root: str, listed: Mapping[str, Iterable[int]]) -> None:
    """Write LISTING: name → the sizes that it may have."""
    content = json.dumps({name: sorted(sizes) for name, sizes in sorted(listed.items())}, indent=1)
    store.pipe_file(f"{root}/{LISTING}", content.encode())
