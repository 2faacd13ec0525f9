"""AWS on the loopback: the executor plugin's own SageMaker, which runs its jobs, and moto for S3 and secrets."""

import sys
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
from loopback.plugin import aws, loopback, moto_endpoint  # noqa: E402, F401
from submitting_clone import BUCKET, PLUGIN_SOURCES, fill_in_profile  # noqa: E402


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with stand-ins for its programs and the profile filled in, in which nothing has run. Copy it."""
    folder = tmp_path_factory.mktemp("pristine")
    clone = Clone.create(folder / "clone", folder)
    fill_in_profile(clone.folder)
    clone.commit("the profile filled in")
    return clone


@pytest.fixture
def clone(pristine: Clone, bucket: None, tmp_path: Path) -> Clone:
    """A clone to submit from."""
    return pristine.copy_to(tmp_path / "clone")


@pytest.fixture
def bucket(aws) -> None:  # noqa: F811
    """The bucket of the DVC remote and of the jobs' own files."""
    aws.client("s3").create_bucket(Bucket=BUCKET)


@pytest.fixture
def loopback_options(tmp_path: Path) -> dict:
    """The image holds the plugin and the stand-ins; jobs see nothing of the submitting machine's folders, as on AWS."""
    packages = f"{PLUGIN_SOURCES}:{STAND_INS}"
    return {"hide": (str(tmp_path),), "container_env": {"PYTHONPATH": packages, "TRACE": "/tmp/trace"}}
