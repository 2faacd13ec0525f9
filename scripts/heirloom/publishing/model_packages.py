"""Versions of a model in SageMaker's Model Registry: a package group for a run, a package for each checkpoint.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry.html. Credentials, region and endpoint are those that
boto finds in the environment.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.models.model_facts import FACTS
from heirloom.s3 import SCHEME, upload_folder

GROUP = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""SageMaker's EntityName."""
LAST = FACTS
"""Of a checkpoint's files the one that is uploaded last: where it stands, the checkpoint is whole."""
CHECKPOINT, SCORES = "checkpoint", "gates.json"
KEY = "heirloom-checkpoint"
"""In a package's own metadata: DVC's hash of the checkpoint."""


def register_package(
    group: str, folder: Path, md5: str, s3_prefix: str, gates: list[dict[str, Any]], commit: str, image: str | None
) -> tuple[str, bool]:
    """Upload a checkpoint and make it the next version of a package group; return its ARN, and whether it is new.

    `md5`: DVC's hash of the folder; the same checkpoint is registered once. Files go to PREFIX/GROUP/MD5/, so that no
    version replaces another's. `gates` are uploaded as the model's quality. Who may approve it decides: its status is
    PendingManualApproval. `image`: the container that serves it, where that is known. Raises HeirloomError.
    """
    import boto3

    if not GROUP.fullmatch(group):
        raise HeirloomError(
            f"SageMaker: {group} is no name of a package group: letters, digits and single hyphens, at most 63; give "
            "another with --name"
        )
    if not re.fullmatch(f"{SCHEME}[^/]+(/.+)?", s3_prefix):
        raise HeirloomError(f"--s3-prefix {s3_prefix}: expected s3://BUCKET/PREFIX, where checkpoints are served from")
    with sagemaker_problems():
        client = boto3.client("sagemaker")
        make_group(client, group)
        for version in versions(client, group):
            if version.get("CustomerMetadataProperties", {}).get(KEY) == md5:
                return version["ModelPackageArn"], False
    place = f"{s3_prefix.rstrip('/')}/{group}/{md5.removesuffix('.dir')}"
    upload_folder(folder, f"{place}/{CHECKPOINT}", LAST)
    with tempfile.TemporaryDirectory() as scores:
        (Path(scores) / SCORES).write_text(json.dumps({"gates": gates}, indent=2) + "\n", encoding="utf-8")
        upload_folder(Path(scores), f"{place}/quality", SCORES)
    source = {"S3Uri": f"{place}/{CHECKPOINT}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"ModelDataSource": {"S3DataSource": source}, **({"Image": image} if image else {})}
    with sagemaker_problems():
        made = client.create_model_package(
            ModelPackageGroupName=group,
            ModelPackageDescription=f"{folder} of commit {commit}"[:1024],
            InferenceSpecification={"Containers": [container]},
            ModelApprovalStatus="PendingManualApproval",
            MetadataProperties={"CommitId": commit, "GeneratedBy": "heirloom"},
            ModelMetrics={
                "ModelQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri": f"{place}/quality/{SCORES}"}
                }
            },
            CustomerMetadataProperties={KEY: md5},
        )
    return made["ModelPackageArn"], True


def make_group(client, group: str) -> None:
    """Make a package group unless there is one."""
    from botocore.exceptions import ClientError

    try:
        client.describe_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        client.create_model_package_group(
            ModelPackageGroupName=group, ModelPackageGroupDescription="Checkpoints that passed their gates (Heirloom)"
        )


def versions(client, group: str) -> Iterator[dict[str, Any]]:
    """Yield what is known of each version of a package group."""
    pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for page in pages:
        for package in page["ModelPackageSummaryList"]:
            yield client.describe_model_package(ModelPackageName=package["ModelPackageArn"])


@contextmanager
def sagemaker_problems() -> Iterator[None]:
    """Turn AWS's errors into a HeirloomError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise HeirloomError(
            f"SageMaker's Model Registry: {' '.join(str(error).split())}: check credentials, region and the "
            "permissions sagemaker:*ModelPackage*"
        ) from None
