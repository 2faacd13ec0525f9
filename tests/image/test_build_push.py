"""docker/build_push_image.sh against a real ECR API on the loopback (moto), with an engine that only writes down.

The engine's part is proved by test_image.py, which builds with buildah. What is pushed here, the stand-in tells moto.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import requests
from moto_server import CREDENTIALS, moto_server

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
TOOLS = ("bash", "git", "sed", "sha256sum", "cut", "sort", "dirname", "env", "cat")
ENGINE = f"""#!{sys.executable}
import json, os, sys
import boto3
log = open(os.environ["ENGINE_LOG"], "a")
words = sys.argv[1:]
secret = sys.stdin.read() if words[0] == "login" else ""
log.write(json.dumps({{"words": words, "stdin": secret}}) + "\\n")
if words[0] == "push" and "LOSE_PUSH" not in os.environ:
    repository, tag = words[-1].partition("/")[2].split(":")
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    config = {{"digest": "sha256:" + "0" * 64}}
    manifest = json.dumps({{"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [], "tag": tag}})
    boto3.client("ecr").put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)
"""


@pytest.fixture(scope="module")
def ecr() -> Iterator[str]:
    with moto_server() as url:
        yield url


class User:
    """Someone in a clone, with few programs on the path."""

    def __init__(self, clone: Path, home: Path, ecr: str) -> None:
        self.clone = clone
        self.programs = home / "bin"
        self.programs.mkdir()
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))
        (self.programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (self.programs / "python3").chmod(0o755)
        self.log = home / "engine.log"
        self.environment = {
            "PATH": str(self.programs), "HOME": str(home), "ENGINE_LOG": str(self.log), "AWS_ENDPOINT_URL_ECR": ecr,
            "AWS_EC2_METADATA_DISABLED": "true", **CREDENTIALS,
        }  # fmt: skip

    def install(self, engine: str) -> None:
        (self.programs / engine).write_text(ENGINE)
        (self.programs / engine).chmod(0o755)

    def script(self, *options: str, without: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess:
        environment = {key: value for key, value in self.environment.items() if key not in without}
        return self.run(
            str(self.clone / "docker/build_push_image.sh"), *options, cwd=Path("/"), env=environment | variables
        )

    def run(self, *command: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    def calls(self) -> list[dict]:
        """Return what the engine was asked since the last look."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


@pytest.fixture
def user(clone: Path, tmp_path: Path, ecr: str) -> User:
    return User(clone, tmp_path, ecr)


def client(ecr: str):
    return boto3.client(
        "ecr", endpoint_url=ecr, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def test_a_base_image_that_goes_by_tag_is_told(user: User) -> None:
    user.install("docker")
    digest = f"docker.io/debian@sha256:{'0' * 64}"
    told = user.script("--no-push", "--dry-run", "--build-arg", f"BASE_IMAGE={digest}")
    assert told.returncode == 0 and "BASE_IMAGE goes by tag" not in told.stderr
    assert re.search(
        r"BUILD_IMAGE goes by tag \(docker\.io/nvidia/cuda:\S+\), which can move: give it by digest", told.stderr
    )
    told = user.script("--no-push", "--dry-run", "--build-arg", f"BASE_IMAGE={digest[:-1]}")
    assert "BASE_IMAGE goes by tag (docker.io/debian@sha256:" in told.stderr


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_it_builds_creates_pushes_and_prints_the_digest(user: User, ecr: str, engine: str) -> None:
    user.install(engine)
    repository = f"made-by-{engine}"
    done = user.script("--repository", repository, "--build-arg", "EFA_VERSION=1.50.0", "--", "--no-cache")
    assert done.returncode == 0, done.stderr

    (described,) = client(ecr).describe_repositories(repositoryNames=[repository])["repositories"]
    assert described["imageTagMutability"] == "IMMUTABLE"
    (image,) = client(ecr).describe_images(repositoryName=repository)["imageDetails"]
    assert done.stdout == f"{REGISTRY}/{repository}@{image['imageDigest']}\n"

    build, login, push = user.calls()
    (tag,) = image["imageTags"]
    lock = subprocess.run(
        ["sha256sum", "envs/training.txt"], cwd=user.clone, capture_output=True, text=True, check=True
    )
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=user.clone, capture_output=True, text=True, check=True)
    assert re.fullmatch(rf"lock-{lock.stdout[:12]}-commit-{commit.stdout[:12]}-args-[0-9a-f]{{8}}", tag)
    assert build["words"][0] == "build" and build["words"][-2:] == ["--no-cache", "."]
    assert ("--format" in build["words"]) == (engine != "docker")
    assert "EFA_VERSION=1.50.0" in build["words"] and f"{REGISTRY}/{repository}:{tag}" in build["words"]
    assert login["words"] == ["login", "--username", "AWS", "--password-stdin", REGISTRY]
    assert login["stdin"].strip() == "123456789012-auth-token"
    assert push["words"] == ["push", f"{REGISTRY}/{repository}:{tag}"]

    again = user.script("--repository", repository, "--build-arg", "EFA_VERSION=1.50.0")
    assert again.stdout == done.stdout
    assert user.calls() == []

    other = user.script("--repository", repository, "--target", "user")
    assert other.returncode == 0, other.stderr
    assert [call["words"][0] for call in user.calls()] == ["build", "login", "push"]
    tags = [
        tag
        for image in client(ecr).describe_images(repositoryName=repository)["imageDetails"]
        for tag in image["imageTags"]
    ]
    assert any(tag.endswith("-user") for tag in tags)


def test_a_dry_run_changes_nothing(user: User, ecr: str) -> None:
    user.install("podman")
    done = user.script("--repository", "dry", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"would run: podman build --format docker .*--target sagemaker --tag \S+/dry:lock-", done.stderr)
    assert f"would create the repository dry in {REGISTRY} if it is missing, and log in" in done.stderr
    assert "would run: podman push" in done.stderr
    assert (done.stdout, user.calls()) == ("", [])
    assert "dry" not in [found["repositoryName"] for found in client(ecr).describe_repositories()["repositories"]]


def test_without_push_it_needs_no_aws(user: User) -> None:
    user.install("buildah")
    keys = tuple(user.environment.keys() & CREDENTIALS.keys())
    done = user.script("--no-push", without=keys)
    assert done.stdout.startswith("localhost/heirloom:lock-"), done.stderr
    assert [call["words"][0] for call in user.calls()] == ["build"]


def test_sh_runs_it_too(user: User) -> None:
    """`cd docker; sh build_push_image.sh`: on Debian sh is dash, which knows no `pipefail` and no arrays."""
    user.install("buildah")
    command = (shutil.which("dash") or "sh", "build_push_image.sh", "--no-push", "--build-arg", "EFA_VERSION=1.50.0")
    done = user.run(*command, cwd=user.clone / "docker", env=user.environment)
    assert done.stdout.startswith("localhost/heirloom:lock-"), done.stderr
    assert "EFA_VERSION=1.50.0" in user.calls()[0]["words"]
    (user.programs / "bash").unlink()
    done = user.run(*command, cwd=user.clone / "docker", env=user.environment)
    said = "build_push_image.sh: it needs bash, which is not installed: install it\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_what_is_missing_is_told_in_one_sentence(user: User, tmp_path: Path) -> None:
    def said(*options: str, **settings) -> str:
        done = user.script(*options, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr.splitlines()[-1]

    assert said().endswith("found none of docker, podman and buildah: install one of them")
    assert said("--engine", "podman").endswith("--engine podman: it is not installed")
    assert said("--engine", "kaniko").endswith("--engine kaniko: expected docker, podman or buildah")
    user.install("podman")
    secrets = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert "ecr: no AWS credentials" in said(without=secrets)
    assert "log in (`aws configure` or `aws sso login`) or set AWS_PROFILE" in said(without=secrets)
    assert "ecr: no AWS region: set AWS_REGION" in said(without=("AWS_DEFAULT_REGION",))
    assert "ecr: no AWS credentials (The config profile (nobody) could not be found)" in said(AWS_PROFILE="nobody")
    assert "Could not connect to the endpoint" in said(AWS_ENDPOINT_URL_ECR="http://127.0.0.1:9")
    assert "--target laptop: expected sagemaker or user" in said("--target", "laptop")
    assert "--build-arg EFA: expected KEY=VALUE" in said("--build-arg", "EFA")
    assert "--repository: expected a value after it" in said("--repository")
    assert "--pull: no such option" in said("--pull")
    assert "and ECR does not list it" in said("--repository", "lost", LOSE_PUSH="1")
    (user.programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    assert "has no boto3: run `make setup-workflow`, then this again" in said()


def test_a_changed_clone_is_not_pushed(user: User, tmp_path: Path) -> None:
    user.install("podman")
    user.clone = Path(shutil.copytree(user.clone, tmp_path / "changed", symlinks=True))
    (user.clone / "scripts/doctor.py").write_text("")
    done = user.script()
    assert done.returncode == 1
    assert "from which files differ: commit them, or use --no-push" in done.stderr
    assert user.calls() == []
    assert user.script("--no-push").stdout.endswith("-dirty\n")
    shutil.rmtree(user.clone / ".git")
    assert "the tag names a commit: run this in a git clone with one" in user.script().stderr


def test_a_role_without_permission_is_told_which(user: User) -> None:
    user.install("podman")
    with moto_server() as url:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        iam = boto3.client("iam", endpoint_url=url, **keys)
        iam.create_user(UserName="poor")
        key = iam.create_access_key(UserName="poor")["AccessKey"]
        requests.post(f"{url}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()  # from now on it checks
        poor = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        done = user.script(AWS_ENDPOINT_URL_ECR=url, **poor)
        assert "the role needs the permission ecr:GetAuthorizationToken" in done.stderr
        done = user.script(AWS_ENDPOINT_URL_ECR=url)  # of a user whom this AWS does not know
        assert "the credentials are expired or wrong: log in again" in done.stderr
