"""What docker/build_push_image.sh asks ECR, with the region and the credentials that boto3 finds.

python docker/ecr.py registry                  the registry's host
python docker/ecr.py digest REPOSITORY TAG     the digest of an image; nothing when there is none
python docker/ecr.py create REPOSITORY         create the repository if it is missing
python docker/ecr.py password                  a password for the user AWS, valid for twelve hours
"""

import argparse
import base64
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from heirloom.errors import HeirloomError

REFUSED_CREDENTIALS = (
    "ExpiredToken",
    "InvalidClientTokenId",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
)


@contextmanager
def ecr_problems() -> Iterator[None]:
    """Turn boto's errors, its absence included, into a HeirloomError that says what to do."""
    try:
        from botocore import exceptions
    except ModuleNotFoundError:
        raise HeirloomError(f"ecr: {sys.executable} has no boto3: run `make setup-workflow`, then this again") from None

    try:
        yield
    except exceptions.NoRegionError:
        raise HeirloomError("ecr: no AWS region: set AWS_REGION, or a profile with a region in AWS_PROFILE") from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise HeirloomError(
            f"ecr: no AWS credentials ({error}): log in (`aws configure` or `aws sso login`) or set AWS_PROFILE"
        ) from None
    except exceptions.ClientError as error:
        details = error.response["Error"]
        said = f"{details['Code']} {details.get('Message', '')}"
        if "AccessDenied" in said:
            remedy = f"the role needs the permission ecr:{error.operation_name}"
        elif any(code in said for code in REFUSED_CREDENTIALS):
            remedy = "the credentials are expired or wrong: log in again"
        else:
            remedy = "see AWS's documentation of that code"
        raise HeirloomError(f"ecr: {said}: {remedy}") from None
    except exceptions.BotoCoreError as error:
        raise HeirloomError(f"ecr: {error}") from None


def client():
    """Return boto3's ECR client."""
    import boto3

    return boto3.client("ecr")


def registry(ecr) -> str:
    """Return the host of this account's registry in this region.

    The registry names itself together with a password: so this is also the check of region and credentials.
    """
    return ecr.get_authorization_token()["authorizationData"][0]["proxyEndpoint"].removeprefix("https://")


def digest(ecr, repository: str, tag: str) -> str:
    """Return the digest (sha256:…) of an image, empty when the repository or the tag is not there."""
    try:
        images = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"]
    except (ecr.exceptions.RepositoryNotFoundException, ecr.exceptions.ImageNotFoundException):
        return ""
    return images[0]["imageDigest"]


def create(ecr, repository: str) -> None:
    """Create a repository whose tags cannot be moved; leave one that is there as it is."""
    try:
        ecr.create_repository(
            repositoryName=repository,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )
    except ecr.exceptions.RepositoryAlreadyExistsException:
        return
    print(f"created the repository {repository}", file=sys.stderr)


def password(ecr) -> str:
    """Return the password of the user AWS for `docker login`."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]


def main() -> int:
    """Answer one question; a user's mistake is one sentence and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("registry")
    commands.add_parser("password")
    of_image = commands.add_parser("digest")
    of_image.add_argument("repository")
    of_image.add_argument("tag")
    commands.add_parser("create").add_argument("repository")
    arguments = vars(parser.parse_args())
    question = {"registry": registry, "password": password, "digest": digest, "create": create}[
        arguments.pop("command")
    ]
    try:
        with ecr_problems():
            answer = question(client(), **arguments)
    except HeirloomError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if answer is not None:
        print(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
