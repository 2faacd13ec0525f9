"""`make clean-remote`: what origin needs stays, also when the cleaning is cut in the middle; what is young stays."""

import datetime
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from clone import Clone, succeeded
from moto_server import CREDENTIALS, moto_server

BUCKET = "artifacts"
REFUSED = b"<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
PROFILE = "workflow/profiles/sagemaker/config.yaml"
PRICES = "us-east-1:\n  s3: {usd_per_gb_month: 0.023, page: 'https://example.org', read: 2026-11-29}\n"


class Place:
    """A clone with an origin and a DVC remote on S3 whose clock can be set back."""

    def __init__(self, clone: Clone, folder: Path, endpoint: str) -> None:
        self.clone, self.endpoint = clone, endpoint
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        self.s3 = boto3.client("s3", endpoint_url=endpoint, **keys)
        self.s3.create_bucket(Bucket=BUCKET)
        self.reach(endpoint)
        clone.git("init", "-q", "--bare", str(folder / "origin.git"))
        clone.git("remote", "add", "origin", str(folder / "origin.git"))
        self.needed: set[str] = set()
        self.strange: set[str] = set()
        self.young: set[str] = set()

    def reach(self, endpoint: str) -> None:
        remote = f"['remote \"storage\"']\n    url = s3://{BUCKET}/heirloom\n    endpointurl = {endpoint}\n"
        self.clone.write(".dvc/config.local", f"[core]\n    remote = storage\n{remote}")

    def keys(self, prefix: str, youngest: float = 1e9) -> set[str]:
        """Return the keys below a prefix that are at most so many days old."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        now = datetime.datetime.now(datetime.UTC)
        rows = [row for page in pages for row in page.get("Contents", [])]
        return {row["Key"] for row in rows if (now - row["LastModified"]).days <= youngest}

    def train(self, rate: str) -> None:
        """Make `other` with this learning rate, commit it and push its data."""
        text = (self.clone.folder / "config/runs/other.yaml").read_text()
        self.clone.write("config/runs/other.yaml", re.sub("learning_rate: [^,]+", f"learning_rate: {rate}", text))
        succeeded(self.clone.snakemake("--config", "runs=other"))
        self.clone.commit(f"learning rate {rate}")
        succeeded(self.clone.dvc("push", "train-other", **CREDENTIALS))

    def others_folder(self) -> set[str]:
        """Put a folder of another project there, and return its keys."""
        file = hashlib.md5(b"theirs").hexdigest()
        listed = json.dumps([{"md5": file, "relpath": "theirs.txt"}]).encode()
        names = {file: b"theirs", f"{hashlib.md5(listed).hexdigest()}.dir": listed}
        keys = {f"heirloom/files/md5/{name[:2]}/{name[2:]}": content for name, content in names.items()}
        for key, content in keys.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return set(keys)

    def clean(self, *words: str):
        variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}
        return self.clone.run(sys.executable, "workflow/pipeline", "clean-remote", *words, **variables)


@contextmanager
def cut_at(request: int, endpoint: str, refused: bool = False) -> Iterator[str]:
    """Give the address of a way to S3 that is cut, for good, when so many requests to delete have come.

    Or where these are `refused` as S3 does without the permission: with 200, and an error for each object.
    """
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "POST" and "?delete" in self.path:
                seen.append(self.path)
            if len(seen) >= request and refused and "?delete" in self.path:
                self.send_response(200)
                self.send_header("Content-Length", str(len(REFUSED)))
                self.end_headers()
                self.wfile.write(REFUSED)
                return
            if len(seen) >= request and not refused:
                self.close_connection = True
                return
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            there = HTTPConnection(endpoint.removeprefix("http://"))
            there.request(self.command, self.path, body, headers)  # urllib would add a Content-Type
            answer = there.getresponse()
            content = answer.read()
            there.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815 - names that http.server calls

        def log_message(self, *_: object) -> None:
            """Keep the tests' output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
    assert len(seen) >= request, "nothing was cut"


@pytest.fixture(scope="module")
def place(made: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Main has trained `other` twice, the first time is in its history alone; a third is of a branch that is gone, and
    a fourth too, but young.
    """
    folder = tmp_path_factory.mktemp("clean-remote")
    clock = folder / "days"
    clock.write_text("40")
    with moto_server(clock) as endpoint:
        clone = made.copy_to(folder / "clone")
        place = Place(clone, folder, endpoint)
        succeeded(clone.dvc("push", **CREDENTIALS))
        place.train("2e-5")
        clone.git("push", "-q", "origin", "main")
        place.needed = place.keys("heirloom/")
        place.strange = place.others_folder()
        for name, rate, days in (("spare", "3e-5", "40"), ("young", "4e-5", "0")):
            clock.write_text(days)
            clone.git("checkout", "-q", "-b", name, "main")
            place.train(rate)
            clone.git("checkout", "-q", "main")
            clone.git("branch", "-q", "-D", name)
        place.young = place.keys("heirloom/", youngest=1)
        rows = map(json.loads, (clone.folder / ".dvc/history.jsonl").read_text().splitlines())
        key = hashlib.sha256(next(row["identity"] for row in rows if row["stage"] == "train-pre").encode()).hexdigest()
        names = ("objects/1", "results/train-other-01234567-a-b.json", f"checkpoints/{key[:12]}/s/1", "checkpoints/b/1")
        clock.write_text("40")
        for name in names:
            place.s3.put_object(Bucket=BUCKET, Key=f"jobs/{name}", Body=b"12345")
        clock.write_text("0")
        place.s3.put_object(Bucket=BUCKET, Key="jobs/checkpoints/b/2", Body=b"1")
        clone.edit(
            PROFILE, "# sagemaker-s3-prefix: s3://my-bucket/heirloom/jobs", f"sagemaker-s3-prefix: s3://{BUCKET}/jobs"
        )
        yield place


def test_what_is_spare_is_listed_by_run_and_nothing_is_deleted_unasked(place: Place) -> None:
    before = place.keys("")
    place.clone.write("config/prices.yaml", PRICES)
    said = succeeded(place.clean()).stdout
    (place.clone.folder / "config/prices.yaml").unlink()
    assert place.keys("") == before
    spare = place.keys("heirloom/") - place.needed - place.strange
    assert len(place.young) > 1 and len(spare - place.young) > 1
    remote, _, jobs = said.partition(f"s3://{BUCKET}/jobs:")
    (line,) = [line for line in remote.splitlines() if " other, " in line]
    assert line.split()[:2] == [str(len(spare)), "objects,"] and f" {len(spare - place.young)} of them old" in line
    assert "$0.00 a month: of these, older than 30 days; --yes deletes them" in remote
    assert re.search("2 objects, .* a month: of these, of no run that is known here, and kept", remote)
    owners = [line.split("a month")[1].strip() for line in jobs.splitlines() if "$" in line][:4]
    assert owners == [
        "checkpoints of a job that did not end",
        "jobs' own files, 1 of them old",
        "other, 1 of them old",
        "pre, 1 of them old",
    ]


def test_what_origin_needs_stays_also_when_the_way_is_cut_in_the_middle(place: Place) -> None:
    before = place.keys("heirloom/")
    with cut_at(1, place.endpoint, refused=True) as endpoint:
        place.reach(endpoint)
        assert "objects could not be deleted (artifacts/heirloom/files/md5/" in place.clean("--yes").stderr
    with cut_at(2, place.endpoint) as endpoint:
        place.reach(endpoint)
        done = place.clean("--yes")
    place.reach(place.endpoint)
    assert done.returncode == 1 and "error: the DVC remote cannot be cleaned from here" in done.stderr
    between = place.keys("heirloom/")
    gone = before - between
    assert gone and all(key.endswith(".dir") for key in gone) and place.needed | place.young | place.strange <= between
    succeeded(place.clean("--yes"))
    assert place.keys("heirloom/") == place.needed | place.young | place.strange
    assert place.keys("jobs/") == {"jobs/checkpoints/b/1", "jobs/checkpoints/b/2"}  # of one job, and one is young
    succeeded(place.clean("--yes", "--unknown"))
    assert place.keys("heirloom/") == place.needed | place.young
    said = place.clean().stdout
    assert f"s3://{BUCKET}/jobs:" in said and "0 objects, 0 bytes: of these, older" in said


def test_where_it_is_not_certain_what_is_needed_nothing_is_deleted(place: Place, tmp_path: Path) -> None:
    place.clone.settings()  # the remote in a folder of this machine
    assert f"{place.clone.home}/storage/files/md5: " in succeeded(place.clean()).stdout
    place.reach(place.endpoint)
    before = place.keys("")
    origin = place.clone.git("remote", "get-url", "origin").strip()
    place.clone.git("clone", "-q", origin, str(tmp_path / "other"))
    colleague = Clone(tmp_path / "other", place.clone.home)
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    colleague.git(*identity, "commit", "-q", "--allow-empty", "-m", "theirs")
    colleague.git("push", "-q", "origin", "HEAD:theirs")
    done = place.clean("--yes")
    assert done.returncode == 1
    assert "error: origin's refs/heads/theirs is not here, so it is not known what it needs: `git fetch" in done.stderr
    place.clone.git("remote", "remove", "origin")
    assert "error: origin does not say what it has" in place.clean("--yes").stderr
    assert place.keys("") == before
