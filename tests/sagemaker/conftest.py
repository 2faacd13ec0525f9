"""AWS on the loopback: the executor plugin's own SageMaker, which runs its jobs, and moto for S3 and secrets."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = REPOSITORY / "workflow" / "plugins" / "snakemake-executor-plugin-sagemaker"
sys.path.append(str(PLUGIN / "tests"))  # loopback
sys.path.append(str(PLUGIN / "src"))  # what makes a job's files, for jobs by hand
sys.path.append(str(REPOSITORY / "tests" / "contract"))  # clone
sys.path.append(str(REPOSITORY / "tests" / "end_to_end"))  # demo_clone
sys.path.append(str(REPOSITORY / "tests" / "training"))  # training_workplace

from clone import STAND_INS, Clone  # noqa: E402
from cloud import BUCKET, PLUGIN_SOURCES, Cloud, cloud_on_loopback  # noqa: E402
from loopback.plugin import aws, loopback, moto_endpoint  # noqa: E402, F401
from short_chain import at_home  # noqa: E402, F401
from submitting import PROFILE, fill_in_profile, submit  # noqa: E402


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One SageMaker and one S3 for all tests of a module; jobs see nothing of the submitting machine's folders."""
    image = {"PYTHONPATH": f"{PLUGIN_SOURCES}:{STAND_INS}", "TRACE": "/tmp/trace"}
    image |= {"MEASURED": '{"steps": 1, "tokens": 32, "training_s": 16, "gpu_gib": 12.5, "mfu": 0.3}'}
    with cloud_on_loopback(image, hide=(str(tmp_path_factory.getbasetemp()),)) as cloud:
        cloud.aws.client("s3").create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with stand-ins for its programs, in which nothing has run and nothing is set. Copy it."""
    folder = tmp_path_factory.mktemp("pristine")
    return Clone.create(folder / "clone", folder)


@pytest.fixture(scope="module")
def made(pristine: Clone, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose run `other` was made on SageMaker, but for the kinds of stages that ran here. Copy it."""
    clone = pristine.copy_to(tmp_path_factory.mktemp("made") / "clone")
    fill_in_profile(clone.folder)
    clone.edit(PROFILE, "# config: [here=download]", "config: ['here=download,model']")
    clone.commit("the profile filled in")
    done = submit(clone, cloud, "--config", "runs=other")
    assert done.returncode == 0, done.stdout + done.stderr + cloud.logs()
    return clone


@pytest.fixture
def clone(made: Clone, tmp_path: Path) -> Clone:
    """A copy of `made` to work in, committed."""
    clone = made.copy_to(tmp_path / "clone")
    clone.commit("made on SageMaker")
    return clone


@pytest.fixture
def bucket(aws) -> None:  # noqa: F811
    """The bucket of a test that has an AWS of its own."""
    aws.client("s3").create_bucket(Bucket=BUCKET)
