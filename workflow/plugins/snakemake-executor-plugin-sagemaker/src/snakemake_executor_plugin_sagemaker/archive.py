"""The source archive: what a job needs besides its inputs, as bytes that depend on the files' content alone."""

import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from .secrets import LeakGuard
from .transfer import UnsafePathError, relative_path

# Names that people give to files with secrets. Untracked ones stay here, tracked ones are searched like all others.
_PRIVATE_NAMES = (".env", ".env.*", ".netrc", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "credentials*")

# Debian 12's Python 3.11.2 knows no filters yet, Python 3.12 and 3.13 warn without one.
_FILTER = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}

_LARGEST_NEW = 10_000_000  # bytes; a larger file that nobody has added to git is data, not source


def untracked_files(root: Path) -> list[str]:
    """Return the files below ROOT that git neither tracks nor ignores: a new rule or config that was not added yet.

    Returns nothing outside a git repository.
    """
    found = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z", "."], cwd=root, capture_output=True, check=False
    )
    names = found.stdout.decode().split("\0") if found.returncode == 0 else []
    return [name for name in names if name and not name.startswith(".snakemake/")]


def is_private(name: str) -> bool:
    """Say whether a file of this name usually holds secrets."""
    return any(Path(name).match(pattern) for pattern in _PRIVATE_NAMES)


def new_sources(root: Path, products: set[str]) -> tuple[list[str], list[str]]:
    """Return the untracked files that belong to the sources, and those that are left out.

    What the workflow itself makes (PRODUCTS: files and folders) is neither: it travels as input where it is needed.
    """
    found = [
        name
        for name in untracked_files(root)
        if name not in products and not any(str(parent) in products for parent in Path(name).parents)
    ]
    left_out = [name for name in found if is_private(name) or (root / name).lstat().st_size > _LARGEST_NEW]
    return [name for name in found if name not in left_out], left_out


def source_archive(files: Iterable[str], root: Path, guard: LeakGuard) -> bytes:
    """Return a .tar.gz of FILES below ROOT: same content, same bytes, whatever the times, owners and order.

    Raises PlainTextSecretError when a file holds a secret, UnsafePathError when one lies outside ROOT.
    """
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted({relative_path(file, root) for file in files}):
            path = root / name
            if path.is_symlink() or path.is_file():
                archive.addfile(*_member(path, name, root, guard))
    return buffer.getvalue()


def _member(path: Path, name: str, root: Path, guard: LeakGuard) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    member = tarfile.TarInfo(name)
    if path.is_symlink():
        if not path.resolve().is_relative_to(root.resolve()):
            raise UnsafePathError(f"the source {name} is a link to a place outside {root}; make it a file")
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        return member, None
    data = path.read_bytes()
    guard.check(data, f"the source {name}")
    member.size = len(data)
    member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return member, io.BytesIO(data)


def unpack(data: bytes, root: Path) -> None:
    """Unpack a source archive below ROOT. Raises UnsafePathError for a member that would lie outside."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            _require_inside(member, root)  # one after the other: a link may lead the next member astray
            archive.extract(member, root, **_FILTER)


def _require_inside(member: tarfile.TarInfo, root: Path) -> None:
    path = root / member.name
    target = path.parent / member.linkname if member.issym() else path
    inside = all(each.resolve().is_relative_to(root.resolve()) for each in (path.parent, target))
    if not inside or not (member.isfile() or member.issym()):
        raise UnsafePathError(f"the source archive holds {member.name}, which is no file or link inside its folder")
