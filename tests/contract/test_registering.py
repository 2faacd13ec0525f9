"""A run that keeps its gates, and no other, gets into registries: git's tags, the hub, SageMaker's Model Registry."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from clone import Clone, succeeded
from moto_server import CREDENTIALS, moto_server

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from loopback_hub import LoopbackHub  # noqa: E402

TOKEN = "hf_may_write"


@pytest.fixture(scope="module")
def gated(made: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `pre` has gates that nothing has held it against yet."""
    clone = made.copy_to(tmp_path_factory.mktemp("gated") / "clone")
    text = (clone.folder / "config/runs/pre.yaml").read_text()
    clone.write("config/runs/pre.yaml", f'{text.rstrip()}\ngates: {{exact_match: ">= 0.9"}}\n')
    succeeded(clone.pipeline("write"))
    return clone


@pytest.fixture(scope="module")
def passed(gated: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The same, gates kept and committed."""
    clone = gated.copy_to(tmp_path_factory.mktemp("passed") / "clone")
    done = succeeded(clone.snakemake("gate-pre"))
    assert "(1 of 1)" in done.stderr + done.stdout
    assert clone.executed() == []  # the stand-ins': nothing but the gate was asked for
    clone.commit("keeps its gates")
    return clone


@pytest.fixture
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        ).create_bucket(Bucket="models")
        yield url


def register(clone: Clone, *words: str, **variables: str) -> subprocess.CompletedProcess:
    return clone.run(sys.executable, "scripts/register.py", *words, **variables)


def refused(clone: Clone, *words: str, **variables: str) -> str:
    done = register(clone, *words, **variables)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stdout + done.stderr
    return done.stderr


def test_a_gate_is_a_target_and_its_exit_status_says_whether_it_is_kept(gated: Clone, tmp_path: Path) -> None:
    clone = gated.copy_to(tmp_path / "clone")
    clone.edit("config/runs/pre.yaml", ">= 0.9", ">= 0.96")
    done = clone.snakemake("gate-pre")
    assert done.returncode == 1
    said = "exact_match >= 0.96: 0.95 (0.92 to 0.97) does not keep >= 0.96"
    assert f"error: 1 of 1 gates of config/runs/pre.yaml are not kept: {said}" in done.stderr
    assert "pre has not passed its gates as it is now (gate-pre: never run)" in refused(clone, "pre", "--to", "git")
    for target, problem in {
        "gate-sft": "gate-sft: config/ gives sft no `gates:`, so nothing says what it must reach",
        "gate-per": "gate-per: no run is called per; there are other, pre, sft",
    }.items():
        done = clone.snakemake("-n", target)
        assert done.returncode == 1 and f"error: {problem}" in done.stderr


def test_a_tag_is_a_version_that_dvc_finds_again(passed: Clone, tmp_path: Path) -> None:
    clone = passed.copy_to(tmp_path / "clone")
    again = succeeded(clone.snakemake("gate-pre"))
    assert "Nothing to be done" in again.stdout + again.stderr
    assert "is not on the DVC remote" in refused(clone, "pre", "--to", "git")
    succeeded(clone.dvc("push", "gate-pre", "train-pre"))
    clone.edit("config/runs/pre.yaml", "logging_steps: 1", "logging_steps: 2")
    assert "config/runs/pre.yaml is not committed as it is here" in refused(clone, "pre", "--to", "git")
    clone.git("checkout", "-q", "config/runs/pre.yaml")
    assert "pre@v1.0.0: tagged\n" in succeeded(register(clone, "pre", "--to", "git")).stdout
    assert "pre@v1.0.0: tagged already\n" in succeeded(register(clone, "pre", "--to", "git")).stdout
    assert clone.git("rev-parse", "pre@v1.0.0^{commit}") == clone.git("rev-parse", "HEAD")
    succeeded(clone.dvc("artifacts", "get", ".", "pre", "--out", "got"))
    assert tree(clone.folder / "got") == tree(clone.folder / "checkpoints/pre")
    shutil.rmtree(clone.folder / "got")
    clone.git("commit", "-q", "--allow-empty", "-m", "later")
    assert "pre@v1.0.1: tagged\n" in succeeded(register(clone, "pre", "--to", "git")).stdout


def test_the_hub_and_sagemaker_get_a_checkpoint_once(passed: Clone, endpoint: str, tmp_path: Path) -> None:
    clone = passed.copy_to(tmp_path / "clone")
    checkpoint = clone.folder / "checkpoints/pre"
    hub = LoopbackHub(tokens={TOKEN: {"org/other"}, "hf_reads": set()})
    hub.writers.add(TOKEN)
    hub.add("org/other", {"model.bin": b"0"}, kind="model")
    both = ("pre", "--to", "hub", "sagemaker", "--version", "v1.0.0")
    where = ("--repository", "org/pre", "--s3-prefix", "s3://models/served")
    with hub:
        reach = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        reach |= {"AWS_ENDPOINT_URL": endpoint, "NO_PROXY": "127.0.0.1", **CREDENTIALS}
        first = succeeded(register(clone, *both, *where, **reach)).stdout
        second = succeeded(register(clone, *both, *where, **reach)).stdout
        hub_only = ("pre", "--to", "hub", "--repository")
        assert "org/other holds model.bin and no heirloom.json" in refused(clone, *hub_only, "org/other", **reach)
        said = refused(clone, *hub_only, "org/new", **{**reach, "HF_TOKEN": "hf_reads"})
        assert "the token in HF_TOKEN may not write to org/new" in said and "hf_reads" not in said
        assert "needs a token with write access" in refused(clone, *hub_only, "org/pre", **{**reach, "HF_TOKEN": ""})
        pushed = tree(checkpoint)
        (checkpoint / "content.txt").write_text("edited\n")
        assert "checkpoints/pre was edited" in refused(clone, *hub_only, "org/pre", **reach)
    repository = hub.repositories["model", "org/pre"]
    files = repository.commits[repository.branches["main"]]
    assert repository.private and repository.branches["v1.0.0"] == repository.branches["main"]
    assert {name: files[name] for name in files if name != ".gitattributes"} == pushed
    assert len(repository.messages) == 1 and "exact_match >= 0.9: 0.95" in repository.messages[0]["description"]
    assert "model-package/pre/1: registered, pending approval\n" in first
    assert "model-package/pre/1: registered already\n" in second
    client = boto3.client(
        "sagemaker", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    (summary,) = client.list_model_packages(ModelPackageGroupName="pre")["ModelPackageSummaryList"]
    package = client.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["MetadataProperties"]["CommitId"] == clone.git("rev-parse", "HEAD").strip()
    (container,) = package["InferenceSpecification"]["Containers"]
    place = container["ModelDataSource"]["S3DataSource"]["S3Uri"]
    store = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    prefix = place.removeprefix("s3://models/")
    served = {
        row["Key"].removeprefix(prefix) for row in store.list_objects_v2(Bucket="models", Prefix=prefix)["Contents"]
    }
    assert served == {".heirloom-files", *pushed}
    quality = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].removeprefix("s3://models/")
    (gate,) = json.loads(store.get_object(Bucket="models", Key=quality)["Body"].read())["gates"]
    assert gate["passed"] and gate["interval"] == [0.92, 0.97]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
