"""Bring files from S3 and to S3, with the credentials and the endpoint that boto finds in the environment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.artifacts import is_inside
from heirloom.errors import HeirloomError

SCHEME = "s3://"


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


def download_prefix(url: str, folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Download the objects under s3://bucket/prefix (or one object) whose relative name is `wanted`; return the names.

    Raises HeirloomError when there is none, or when one of these names leads out of `folder`.
    """
    import s3fs

    root = url.removeprefix(SCHEME).rstrip("/")
    with s3_problems(url):
        store = s3fs.S3FileSystem()
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


def check_destination(url: str, is_ours: Callable[[str], bool]) -> set[str]:
    """Return the names under s3://bucket/prefix, which is empty or holds only what an earlier upload left.

    `is_ours` tells of a relative name whether it may belong to such an upload. Raises HeirloomError for a prefix
    with other people's objects, and when it cannot be listed.
    """
    import s3fs

    root = url.removeprefix(SCHEME).rstrip("/")
    with s3_problems(url):
        store = s3fs.S3FileSystem()
        if not store.exists(root.partition("/")[0]):
            raise HeirloomError(f"s3: there is no bucket {root.partition('/')[0]}")
        names = {key.removeprefix(f"{root}/") for key in store.find(root)}
    others = sorted(name for name in names if not is_ours(name))
    if others:
        raise HeirloomError(f"s3: {url} holds other objects ({others[0]}, …): choose an empty prefix")
    return names


def upload_folder(folder: Path, url: str, last: str, is_ours: Callable[[str], bool]) -> None:
    """Upload a folder's files to s3://bucket/prefix, the file named `last` after all others.

    A reader that waits for `last` never sees half an artifact, also while one replaces another. What an earlier
    upload left under the prefix goes away. Raises HeirloomError as `check_destination` does.
    """
    import s3fs

    root = url.removeprefix(SCHEME).rstrip("/")
    earlier = check_destination(url, is_ours)
    with s3_problems(url):
        store = s3fs.S3FileSystem()
        if last in earlier:
            store.rm_file(f"{root}/{last}")
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        for name in earlier - {last} - set(names):
            store.rm_file(f"{root}/{name}")
        for name in sorted(names, key=lambda name: name == last):
            store.put_file(str(folder / name), f"{root}/{name}")
