"""Sources, files on their way through S3, records: same content, same bytes; nothing outside its place."""

import io
import json
import os
import subprocess
import tarfile
from types import SimpleNamespace

import boto3
import pytest
from botocore.config import Config

from running import BUCKET, PREFIX
from snakemake_executor_plugin_sagemaker import archive, costs, jobfile
from snakemake_executor_plugin_sagemaker.collection import ResultsError, UnreachableResultsError, collect
from snakemake_executor_plugin_sagemaker.objects import DamagedObjectError, ObjectStore
from snakemake_executor_plugin_sagemaker.secrets import LeakGuard
from snakemake_executor_plugin_sagemaker.transfer import UnsafePathError, receive, relative_path, send

NOTHING_SECRET = LeakGuard({})


def make_sources(folder):
    (folder / "scripts").mkdir(parents=True)
    (folder / "Snakefile").write_text("rule a: shell: 'true'\n")
    (folder / "scripts/run.sh").write_text("true\n")
    (folder / "scripts/run.sh").chmod(0o755)
    (folder / "link").symlink_to("Snakefile")
    return ["Snakefile", "scripts/run.sh", "link"]


def test_an_archive_depends_on_content_alone(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    first = archive.source_archive(make_sources(one), one, NOTHING_SECRET)
    second = archive.source_archive(reversed(make_sources(two)), two, NOTHING_SECRET)
    assert first == second
    (two / "scripts/run.sh").write_text("false\n")
    assert archive.source_archive(["scripts/run.sh"], two, NOTHING_SECRET) != first
    out = tmp_path / "out"
    archive.unpack(first, out)
    assert (out / "link").read_text() == (one / "Snakefile").read_text()
    assert (out / "scripts/run.sh").stat().st_mode & 0o111


def test_an_archive_holds_nothing_from_outside(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "in/link").symlink_to("../secret")
    with pytest.raises(UnsafePathError, match="link to a place outside"):
        archive.source_archive(["link"], tmp_path / "in", NOTHING_SECRET)
    with pytest.raises(UnsafePathError, match="outside the working directory"):
        archive.source_archive(["../secret"], tmp_path / "in", NOTHING_SECRET)


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", None)],
        [("link", "..")],
        [("link", "."), ("link/up", "..")],
        [("here", "."), ("up", "here/.."), ("up/evil", None)],
    ],
)
@pytest.mark.parametrize("options", [archive._FILTER, {}])
def test_nothing_is_unpacked_outside(tmp_path, monkeypatch, members, options):
    """Also where Python is too old to have filters of its own."""
    monkeypatch.setattr(archive, "_FILTER", options)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, link in members:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
            packed.addfile(member, io.BytesIO())
    with pytest.raises(UnsafePathError, match="no file or link inside its folder"):
        archive.unpack(buffer.getvalue(), tmp_path / "root")
    assert not (tmp_path / "evil").exists()


def test_new_files_are_sent_before_they_are_added_to_git(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for name in (".gitignore", "config/new run.yaml", "ignored.txt", ".env", "deploy/id_rsa"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("ignored.txt\n")
    found = archive.untracked_files(tmp_path)
    assert sorted(found) == [".env", ".gitignore", "config/new run.yaml", "deploy/id_rsa"]
    assert [name for name in found if archive.is_private(name)] == [".env", "deploy/id_rsa"]
    (tmp_path / "results/one").mkdir(parents=True)
    (tmp_path / "results/one/model").write_text("made by a rule")
    with open(tmp_path / "data.bin", "wb") as large:
        large.truncate(11_000_000)
    new, left_out = archive.new_sources(tmp_path, {"results/one"})
    assert sorted(new) == [".gitignore", "config/new run.yaml"]
    assert sorted(left_out) == [".env", "data.bin", "deploy/id_rsa"]


@pytest.fixture
def store(aws, bucket):
    return ObjectStore(aws.client("s3"), PREFIX)


def test_files_and_folders_arrive_as_they_were(store, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    make_sources(source)
    (source / "scripts/empty").mkdir()
    entries = send(["scripts", "Snakefile", "missing"], source, store, NOTHING_SECRET, "the file")
    assert [entry["path"] for entry in entries] == ["Snakefile", "scripts/empty", "scripts/run.sh"]
    assert receive(entries, target, store) == ["Snakefile", "scripts/empty", "scripts/run.sh"]
    assert (target / "scripts/empty").is_dir()
    assert (target / "scripts/run.sh").stat().st_mode & 0o111
    assert not (target / "Snakefile").stat().st_mode & 0o111
    assert send(["scripts", "Snakefile"], target, store, NOTHING_SECRET, "the file") == entries


def test_what_comes_back_has_the_rights_that_the_umask_leaves(store, tmp_path):
    entries = [{"path": name, "sha256": store.put_bytes(b"x"), "executable": name == "run"} for name in ("run", "read")]
    usual = os.umask(0o027)
    try:
        receive(entries, tmp_path, store)
    finally:
        os.umask(usual)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("run", "read")] == [0o750, 0o640]


def test_a_changed_object_is_noticed_and_the_old_file_stays(store, aws, tmp_path):
    digest = store.put_bytes(b"right")
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"project/objects/{digest}", Body=b"wrong")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(DamagedObjectError, match="was changed after it was stored"):
        store.get_file(digest, tmp_path / "file")
    with pytest.raises(DamagedObjectError):
        store.get_bytes(digest)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_results_that_cannot_be_fetched_now_are_told_from_those_that_are_gone(store, aws, tmp_path):
    assert collect(store, "never-ran", tmp_path, []) == {}
    digest = store.put_bytes(b"a result")
    entry = {"path": "out.txt", "sha256": digest}
    store.put_result("job", json.dumps({"status": "succeeded", "files": [entry], "logs": []}).encode())
    unreachable = ObjectStore(
        boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1})), PREFIX
    )
    with pytest.raises(UnreachableResultsError, match="the next invocation tries again"):
        collect(unreachable, "job", tmp_path, ["out.txt"])
    assert collect(store, "job", tmp_path, ["out.txt"])["status"] == "succeeded"
    assert (tmp_path / "out.txt").read_bytes() == b"a result"
    aws.client("s3").delete_object(Bucket=BUCKET, Key=f"project/objects/{digest}")
    with pytest.raises(ResultsError) as gone:
        collect(store, "job", tmp_path, ["out.txt"])
    assert not isinstance(gone.value, UnreachableResultsError)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ".git/hooks/pre-commit", ".GIT/x", ".snakemake/x"])
def test_a_job_cannot_write_where_it_should_not(store, tmp_path, path):
    with pytest.raises(UnsafePathError, match="may not be written here"):
        receive([{"path": path, "sha256": store.put_bytes(b"x")}], tmp_path, store)


@pytest.mark.parametrize(
    "path", ["Snakefile", "out.txt.py", "outside", "out/../Snakefile", ".dvc/config.local", ".venv/lib/x.pth", "logs"]
)
def test_a_job_returns_what_it_was_asked_for_and_nothing_else(store, tmp_path, path):
    """The attack: any job of the prefix may write any other's result."""
    good = {"path": "out/a.txt", "sha256": store.put_bytes(b"x")}
    entries = [good, {"path": path, "sha256": store.put_bytes(b"planted")}]
    store.put_result("job", json.dumps({"status": "succeeded", "files": entries, "logs": []}).encode())
    with pytest.raises(ResultsError, match="were not taken: a job returned"):
        collect(store, "job", tmp_path, ["out", "out.txt", "logs/x.log"])
    assert list(tmp_path.iterdir()) == []


def test_paths_are_normal_and_inside(tmp_path):
    assert relative_path("a/./b/../c", tmp_path) == "a/c"
    assert relative_path(str(tmp_path / "x"), tmp_path) == "x"
    with pytest.raises(UnsafePathError):
        relative_path("../x", tmp_path)


def test_the_identity_of_a_job_ignores_attempts_and_the_order_of_options():
    content = {"command": "snakemake --attempt 1 --rerun-triggers code mtime --cores all", "inputs": []}
    again = content | {"command": "snakemake --attempt 2 --rerun-triggers mtime code --cores all"}
    assert jobfile.identity(content) == jobfile.identity(again)
    assert jobfile.identity(content) == jobfile.identity(content | {"secret": "of one try of several hosts"})
    assert jobfile.identity(content) != jobfile.identity(content | {"inputs": [{"path": "x", "sha256": "1"}]})


def test_what_is_carried_of_a_job(tmp_path):
    class File(str):
        is_storage = False
        flags: dict = {}

    stored, pipe = File("s3/x"), File("pipe.txt")
    stored.is_storage, pipe.flags = True, {"pipe": True}
    job = SimpleNamespace(
        is_group=lambda: False, output=[File("out.txt"), stored, pipe], benchmark=File("b.tsv"), log=[File("x.log")]
    )
    assert jobfile.results_of(job, tmp_path) == ["b.tsv", "out.txt"]
    assert jobfile.logs_of(job, tmp_path) == ["x.log"]


DESCRIPTION = {
    "TrainingJobName": "train-1",
    "TrainingJobStatus": "Completed",
    "SecondaryStatus": "Completed",
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2},
    "EnableManagedSpotTraining": True,
    "TrainingTimeInSeconds": 3600,
    "BillableTimeInSeconds": 900,
}


def test_costs_follow_from_billable_seconds_hosts_and_price(tmp_path):
    prices = costs.read_prices(["ml.g5.xlarge=1.5"])
    attempt = costs.attempt_record(DESCRIPTION, prices)
    assert (attempt["cost_usd"], attempt["on_demand_cost_usd"]) == (0.75, 3.0)
    path = tmp_path / "records/train.json"
    costs.write_record(path, "train", "key", [attempt, attempt])
    record = json.loads(path.read_text())
    assert (record["billable_seconds"], record["billable_host_seconds"], record["cost_usd"]) == (1800, 3600, 1.5)
    costs.write_record(path, "train", "key", [attempt, costs.attempt_record(DESCRIPTION, {})])
    assert json.loads(path.read_text())["cost_usd"] is None
    with pytest.raises(costs.WorkflowError, match="'cheap'; expected TYPE=PRICE"):
        costs.read_prices(["cheap"])


def test_several_hosts_get_a_secret_which_is_no_part_of_the_jobs_identity(tmp_path):
    job = SimpleNamespace(is_group=lambda: False, name="train", input=[], output=[], benchmark=None, log=[])

    def described(hosts: int) -> dict:
        return jobfile.describe_job(job, "true", "0" * 64, None, 30, hosts, tmp_path, None, LeakGuard({}))

    one, first, second = described(1), described(2), described(2)
    assert one["secret"] is None and first["secret"] != second["secret"]
    assert all(len(each["secret"]) == 64 for each in (first, second))
    assert jobfile.identity(one) == jobfile.identity(first) == jobfile.identity(second)
