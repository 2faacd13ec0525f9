"""Bring files from S3 and to S3, with the credentials and the endpoint that boto finds in the environment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

    Raises HeirloomError when there is none.
    """
    import s3fs

    root = url.removeprefix(SCHEME).rstrip("/")
    with s3_problems(url):
        store = s3fs.S3FileSystem()
        names = {}
        for key in sorted(store.find(root)):
            name = key.rpartition("/")[2] if key == root else key.removeprefix(f"{root}/")
            if name and wanted(name):
                names[name] = key
        if not names:
            raise HeirloomError(f"s3: {url} holds no data file: check bucket and prefix")
        for name, key in names.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(key, str(target))
    return list(names)


def upload_folder(folder: Path, url: str, last: str) -> None:
    """Upload a folder's files to s3://bucket/prefix, the file named `last` after all others.

    A reader that waits for `last` never sees half an artifact. What an earlier upload left under the prefix
    goes away; a prefix with other people's objects, where `last` is missing, is refused with HeirloomError.
    """
    import s3fs

    root = url.removeprefix(SCHEME).rstrip("/")
    with s3_problems(url):
        store = s3fs.S3FileSystem()
        earlier = {key.removeprefix(f"{root}/") for key in store.find(root)}
        if earlier and last not in earlier:
            raise HeirloomError(
                f"s3: {url} holds {len(earlier)} objects that are no processed dataset: choose an empty prefix"
            )
        if earlier:
            store.rm_file(f"{root}/{last}")
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        for name in sorted(names, key=lambda name: name == last):
            store.put_file(str(folder / name), f"{root}/{name}")
        for name in earlier - set(names):
            store.rm_file(f"{root}/{name}")
