"""Who may do what: a request is a principal's by its access key, and the principal's IAM policies must allow it.

moto checks what it serves, when `Permissions.enforced` has told it to; the loopback asks for its own operations and for
what the platform does in the name of a job's role. Both use moto's evaluation of policies, and it takes the resources
that AWS names in its Service Authorization Reference.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from unittest import mock

import boto3
import moto.settings
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.responses import ACTION_MAP
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.ssm.responses import SimpleSystemManagerResponse

from .errors import AwsError
from .job import ACCOUNT, REGION
from .logs import GROUP

_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/([^:@]+)")
_LOG_GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{GROUP}"
_IMAGE = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
_LOGS = ("logs:CreateLogGroup", "logs:DescribeLogStreams", "logs:CreateLogStream", "logs:PutLogEvents")

Right = tuple[str, str, dict[str, str]]
"""An action, the resource's ARN, and the keys that conditions may ask for."""


class Permissions:
    """The policies of several principals, by name; the name of a job's role is its ARN."""

    def __init__(self, policies: Mapping[str, dict]):
        self.policies = dict(policies)
        self.variables: dict[str, dict[str, str]] = {}

    @contextlib.contextmanager
    def enforced(self, endpoint: str) -> Iterator[dict[str, str]]:
        """Have this process's moto check all requests while the block runs; yields variables of one who may do all.

        moto keeps policies with users, so each principal is one there. `variables` then holds each one's access key.
        """
        iam = boto3.client("iam", endpoint_url=endpoint, region_name=REGION)
        for number, (name, policy) in enumerate({**self.policies, "": _EVERYTHING}.items()):
            user = f"principal-{number}"
            iam.create_user(UserName=user)
            iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=json.dumps(policy))
            key = iam.create_access_key(UserName=user)["AccessKey"]
            secret = {"AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
            self.variables[name] = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], **secret}
        with _resources_as_on_aws(), mock.patch.object(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0):
            yield self.variables[""]

    def allows(self, principal: str, right: Right) -> bool:
        """Say whether a principal's policy allows an action."""
        action, resource, context = right
        policy = IAMPolicy(json.dumps(self.policies.get(principal, _EVERYTHING)))
        return policy.is_action_permitted(action, resource, None, context) is PermissionResult.PERMITTED

    def check(self, headers: Mapping[str, str], service: str, operation: str, request: dict) -> None:
        """Raise AwsError for a request to the loopback that the policy of its access key does not allow."""
        key = _CREDENTIAL.search(headers.get("Authorization", ""))
        names = {values["AWS_ACCESS_KEY_ID"]: name for name, values in self.variables.items()}
        if not key or key[1] not in names:
            raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.")
        for right in _rights(service, operation, request):
            if not self.allows(names[key[1]], right):
                raise AwsError(
                    "AccessDeniedException",
                    f"User: {names[key[1]]} is not authorized to perform: {right[0]} on resource: {right[1]} because "
                    "no identity-based policy allows the action",
                )

    def may_pull(self, role: str, image: str) -> bool:
        """Say whether the platform gets a job's image with the job's role."""
        found = _ECR.match(image)
        if not found:
            return True
        repository = f"arn:aws:ecr:{found[2]}:{found[1]}:repository/{found[3]}"
        rights = [("ecr:GetAuthorizationToken", "*", {}), *((action, repository, {}) for action in _IMAGE)]
        return all(self.allows(role, right) for right in rights)

    def may_log(self, role: str, stream: str) -> bool:
        """Say whether a host's output gets to CloudWatch with the job's role."""
        return all(self.allows(role, (action, f"{_LOG_GROUP}:log-stream:{stream}", {})) for action in _LOGS)


def _rights(service: str, operation: str, request: dict) -> Iterator[Right]:
    """Yield what an operation of the loopback needs."""
    if service == "logs":
        yield f"logs:{operation}", f"{_LOG_GROUP}:log-stream:{request.get('logStreamName', '')}", {}
    elif service == "service-quotas":
        yield f"servicequotas:{operation}", "*", {}
    elif operation in ("ListTrainingJobs", "Search"):
        yield f"sagemaker:{operation}", "*", {}
    else:
        name = request.get("TrainingJobName", "")
        job = request.get("ResourceArn", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}")
        yield f"sagemaker:{operation}", job, {}
        if operation == "CreateTrainingJob":
            if request.get("Tags"):
                yield "sagemaker:AddTags", job, {}
            yield "iam:PassRole", request["RoleArn"], {"iam:PassedToService": "sagemaker.amazonaws.com"}


@contextlib.contextmanager
def _resources_as_on_aws() -> Iterator[None]:
    """Have moto compare resources where it looks at actions alone, and name HeadBucket's action as AWS does."""

    def parameter(response) -> str:
        name = response._get_param("Name") or ""
        return f"arn:aws:ssm:{response.region}:{ACCOUNT}:parameter/{name.removeprefix('/')}"

    def secret(response) -> str:
        return response._get_param("SecretId") or "*"

    with (
        mock.patch.object(SimpleSystemManagerResponse, "_determine_resource", parameter, create=True),
        mock.patch.object(SecretsManagerResponse, "_determine_resource", secret, create=True),
        mock.patch.dict(ACTION_MAP["BUCKET"]["HEAD"], DEFAULT="ListBucket"),
    ):
        yield
