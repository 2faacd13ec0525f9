"""The DVC remote that jobs on other machines share with this clone: on S3, reached there with the job's own role."""

import configparser
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

VARIABLE = "HEIRLOOM_REMOTE"
"""Environment variable of a session whose data belongs on the remote, and of its jobs: the remote's settings, JSON."""

SENT = ("url", "endpointurl", "region", "use_ssl", "ssl_verify", "sse", "sse_kms_key_id", "acl", "jobs")
"""What a job is told of the remote. Everything else, credentials above all, stays here."""
SECRET = ("access_key_id", "secret_access_key", "session_token", "password", "sse_customer_key")
REMEDY = "set `url = s3://BUCKET/PREFIX` in .dvc/config, delete .dvc/config.local, and `dvc push` (docs/storage.md)"


def remote_for_jobs() -> tuple[dict[str, str], list[str]]:
    """Return the settings of DVC's default remote that jobs get, and a sentence for all that is wrong with it."""
    from dvc.config import Config, ConfigError

    try:
        config = Config(".dvc")
        committed = Config.load_file(Path(".dvc/config")) if Path(".dvc/config").exists() else {}
    except ConfigError as error:
        return {}, [f"DVC's settings cannot be read: {error}"]
    name = config["core"].get("remote")
    remote = config["remote"].get(name)
    if remote is None:
        what = f"there is no DVC remote {name}" if name else "there is no default DVC remote"
        return {}, [f"{what}, where jobs could leave their results: {REMEDY}"]
    wrong = [
        f".dvc/config: the remote {other} has {key}, and git carries this file to everybody: remove it, and give DVC "
        "the credentials by the environment or ~/.aws"
        for other, settings in committed.get("remote", {}).items()
        for key in SECRET
        if key in settings
    ]
    if not remote["url"].startswith("s3://"):
        wrong.append(f"the DVC remote {name} is {remote['url']}, which jobs on SageMaker cannot reach: {REMEDY}")
    wrong += [
        f"the DVC remote {name} has a user or a password in its {key}, and jobs' descriptions show that: give the "
        "credentials by the environment or ~/.aws, and take them out of the URL"
        for key in ("url", "endpointurl")
        if "@" in urlsplit(remote.get(key, "")).netloc
    ]
    if str(remote.get("acl", "")).startswith("public"):
        wrong.append(
            f"the DVC remote {name} has acl = {remote['acl']}, by which anybody could read results: take it out"
        )
    return {key: str(remote[key]) for key in SENT if key in remote}, wrong


def announce(remote: dict[str, str]) -> None:
    """Let this process's jobs know where their data belongs."""
    os.environ[VARIABLE] = json.dumps(remote, separators=(",", ":"))


def data_is_remote() -> bool:
    """Tell whether this process works for a session whose data belongs on a remote, not on this machine."""
    return VARIABLE in os.environ


def write_settings(file: Path, core: dict[str, str], cache: dict[str, str]) -> None:
    """Write DVC's settings of a job: the announced remote, under a name of its own, beside `core` and `cache`."""
    settings = configparser.ConfigParser(interpolation=None)
    settings["core"] = core | {"remote": "job"}
    settings["cache"] = cache
    settings["'remote \"job\"'"] = json.loads(os.environ[VARIABLE])
    with file.open("w", encoding="utf-8") as lines:
        settings.write(lines)


def remote_url() -> str:
    """Return the address of the announced remote."""
    return json.loads(os.environ[VARIABLE])["url"]
