"""What can be reached: the DVC remote, on S3 or in a folder, and the model hub."""

import configparser
import os
import urllib.error
import urllib.request
from pathlib import Path

from heirloom.doctor.finding import Finding, error, note, ok, skipped, warning
from heirloom.errors import HeirloomError
from heirloom.s3 import SCHEME, s3_problems

SECONDS = 5
HUB = "https://huggingface.co"


def default_remote(project: Path) -> dict[str, str] | None:
    """Return the settings of the clone's default DVC remote, None where it has none. `config.local` comes first."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read([project / ".dvc/config", project / ".dvc/config.local"], encoding="utf-8")
    name = settings.get("core", "remote", fallback=None)
    section = f"'remote \"{name}\"'"
    return dict(settings[section]) if name and settings.has_section(section) else None


def check_remote(project: Path | None, offline: bool) -> list[Finding]:
    """Find a DVC remote that cannot be read. Nothing is written, so that the right to write is not proved."""
    remote = default_remote(project) if project is not None else None
    if remote is None:
        if project is None:
            return []
        return [note("DVC remote", "none", "`dvc push` and `dvc pull` have nowhere to go", "make clone-settings")]
    url = remote["url"]
    if url.startswith(SCHEME):
        return [skipped("DVC remote", url, "not tried (--offline)") if offline else check_bucket(url, remote)]
    folder = Path(url).expanduser()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return [error("DVC remote", f"{url} cannot be written to", "`dvc push` will fail", "see docs/storage.md")]
    return [ok("DVC remote", f"a folder: {url}")]


def check_bucket(url: str, remote: dict[str, str]) -> Finding:
    """Find an S3 prefix that cannot be listed with the credentials that are here."""
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        return error(
            "DVC remote", f"{url}, and no boto3 to reach it", "no stage can fetch inputs", "make setup-workflow"
        )

    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    quick = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"max_attempts": 1})
    try:
        with s3_problems(url):
            session = boto3.Session(profile_name=remote.get("profile"), region_name=remote.get("region"))
            client = session.client("s3", endpoint_url=remote.get("endpointurl"), config=quick)
            client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except HeirloomError as problem:
        return error("DVC remote", str(problem), "no stage can fetch inputs or keep its result", "see docs/storage.md")
    return ok("DVC remote", f"{url} can be listed")


def check_hub(offline: bool) -> Finding:
    """Find a model hub that does not answer, or that refuses the token."""
    address = os.environ.get("HF_ENDPOINT", HUB)
    if offline or os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        meaning = "stages that download would fail; the demo has none"
        return skipped("model hub", f"{address} not tried (offline)", meaning)
    token = os.environ.get("HF_TOKEN")
    path, headers = ("/api/whoami-v2", {"Authorization": f"Bearer {token}"}) if token else ("/api/models?limit=1", {})
    try:
        urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=SECONDS).close()
    except urllib.error.HTTPError as answer:
        if token and answer.code == 401:
            return error(
                "model hub", f"{address} refuses HF_TOKEN", "downloads will fail", "renew the token or unset it"
            )
        return warning("model hub", f"{address} answers {answer.code}", "downloads may fail", "try again later")
    except OSError as problem:
        return warning(
            "model hub",
            f"{address} does not answer ({getattr(problem, 'reason', problem)})",
            "stages that download a model or a dataset would fail; the demo has none",
            "check the network and its proxy; without one, set HF_HUB_OFFLINE=1",
        )
    return ok("model hub", f"{address} answers{' and knows the token' if token else '; no HF_TOKEN: no gated models'}")
