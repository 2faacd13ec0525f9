"""What can be known to be wrong before the first job: settings, resources of all jobs, bucket, image, quotas."""

import re
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError
from snakemake_interface_common.exceptions import WorkflowError

from .objects import split_uri
from .resources import RESOURCE_NAMES, JobResources, ResourcesError, read_resources
from .settings import ExecutorSettings

_REQUIRED = {
    "role": "the ARN of the role that training jobs run with",
    "s3_prefix": "s3://BUCKET/PREFIX, where jobs keep their files",
}
_LONGEST_RUN = "Longest run time for a training job"  # as AWS names the quota; in seconds
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>[^:@]+)"
    r"(@(?P<digest>sha256:[0-9a-f]+)|:(?P<tag>[\w.-]+))?"
)


def check_settings(settings: ExecutorSettings, region: str | None) -> None:
    """Raise WorkflowError with every setting that is missing or of a wrong form."""
    wrong = [
        f"sagemaker-{name.replace('_', '-')} is missing: {meaning}; set it in the profile"
        for name, meaning in _REQUIRED.items()
        if not getattr(settings, name)
    ]
    if not region:
        wrong.append("sagemaker-region is missing, and the AWS configuration names none; set it in the profile")
    if settings.s3_prefix:
        try:
            split_uri(settings.s3_prefix)
        except ValueError as error:
            wrong.append(f"sagemaker-s3-prefix: {error}")
    if wrong:
        raise WorkflowError("\n".join(wrong))


def check_jobs(jobs, settings: ExecutorSettings) -> list[JobResources]:
    """Return the resources of all jobs. Raises WorkflowError with everything that is wrong in any of them.

    A resource that depends on files which do not exist yet is checked when its job starts.
    """
    found, wrong, keys = [], [], {}
    for job in jobs:
        if any(str(value) == "<TBD>" for name, value in job.resources.items() if name in RESOURCE_NAMES):
            continue
        try:
            resources = read_resources(job, settings)
        except ResourcesError as error:
            wrong += str(error).splitlines()
            continue
        found.append(resources)
        if resources.job_key and keys.setdefault(resources.job_key, job) is not job:
            wrong.append(
                f"rule {job.name}: job_key {resources.job_key!r} is that of another job of rule "
                f"{keys[resources.job_key].name} as well; give each job its own, or its checkpoints are mixed up"
            )
    if wrong:
        raise WorkflowError("\n".join(dict.fromkeys(wrong)))
    return found


def _sources(group: dict) -> set[str]:
    """Return whom a security group lets in: groups, lists of addresses and ranges of addresses."""
    found = set()
    for rule in group.get("IpPermissions", ()):
        found |= {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", ())}
        found |= {listed["PrefixListId"] for listed in rule.get("PrefixListIds", ())}
        found |= {each["CidrIp"] for each in rule.get("IpRanges", ())}
        found |= {each["CidrIpv6"] for each in rule.get("Ipv6Ranges", ())}
    return found


class Preflight:
    """Questions to AWS. What the user may not ask is left out with a line that says so."""

    def __init__(self, session, logger):
        self._session, self._logger = session, logger

    def check(self, settings: ExecutorSettings, jobs: list[JobResources], s3) -> None:
        """Raise WorkflowError when bucket or image do not exist or a quota can never hold a job."""
        wrong = [
            *self._bucket(s3, split_uri(settings.s3_prefix)[0]),
            *(problem for image in sorted({job.image for job in jobs}) for problem in self._image(image)),
            *self._quotas(jobs),
        ]
        if wrong:
            raise WorkflowError("\n".join(wrong))
        for warning in self._open_groups(jobs):
            self._logger.warning(warning)

    def _open_groups(self, jobs: list[JobResources]):
        """Yield what lets others than a job's hosts connect to them: ranks of a training know no passwords."""
        groups = sorted({group for job in jobs if job.instance_count > 1 for group in job.security_group_ids})
        if not groups:
            return
        try:
            found = self._session.client("ec2").describe_security_groups(GroupIds=groups)["SecurityGroups"]
        except (ClientError, BotoCoreError) as error:
            self._unknown(f"the security groups {', '.join(groups)}", error)
            return
        for group in found:
            others = sorted(_sources(group) - {group["GroupId"]})
            if others:
                yield (
                    f"the security group {group['GroupId']} lets in {', '.join(others)}: whoever is there can disturb, "
                    "read or join a training of several hosts; let it name itself alone as a source"
                )

    def _bucket(self, s3, bucket: str):
        if self._is_missing(f"the bucket {bucket}", ("404", "NoSuchBucket"), lambda: s3.head_bucket(Bucket=bucket)):
            yield f"the bucket {bucket} does not exist; create it or correct sagemaker-s3-prefix"

    def _image(self, image: str):
        found = _ECR.fullmatch(image)
        if not found:
            return
        wanted = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or "latest"}

        def ask() -> None:
            self._session.client("ecr", region_name=found["region"]).describe_images(
                registryId=found["account"], repositoryName=found["name"], imageIds=[wanted]
            )

        if self._is_missing(f"the image {image}", ("ImageNotFoundException", "RepositoryNotFoundException"), ask):
            yield f"the image {image} does not exist in ECR; push it or correct sagemaker-image"

    def _is_missing(self, subject: str, codes: tuple[str, ...], ask: Callable[[], object]) -> bool:
        """Tell whether AWS answers with one of the error codes that say so; what it does not answer is not missing."""
        try:
            ask()
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in codes:
                return True
            self._unknown(subject, error)
        return False

    def _quotas(self, jobs: list[JobResources]):
        """Compare each kind of job with the account's quota; jobs that merely wait for each other pass."""
        wanted: dict[str, int] = {}
        for job in jobs:
            use = "spot training job usage" if job.spot else "training job usage"
            # machines of a training plan are counted by quotas of their own
            for instance_type in () if job.training_plan_arn else job.instance_types:
                name = f"{instance_type} for {use}"
                wanted[name] = max(wanted.get(name, 0), job.instance_count)
        if not jobs:
            return
        longest = max(job.max_runtime for job in jobs)
        try:
            pages = self._session.client("service-quotas").get_paginator("list_service_quotas")
            quotas = {
                quota["QuotaName"]: quota["Value"]
                for page in pages.paginate(ServiceCode="sagemaker")
                for quota in page["Quotas"]
            }
        except (ClientError, BotoCoreError) as error:
            self._unknown("the quotas", error)
            return
        for name, count in sorted(wanted.items()):
            if quotas.get(name, count) < count:
                yield f"the account's quota of {name} is {quotas[name]:g}, a job asks for {count}; ask AWS to raise it"
        if quotas.get(_LONGEST_RUN, longest) < longest:
            yield (
                f"the account's quota of {_LONGEST_RUN} is {quotas[_LONGEST_RUN]:g} s, and a job has max_runtime "
                f"{longest}: lower it, or ask AWS to raise the quota"
            )

    def _unknown(self, subject: str, error: Exception) -> None:
        self._logger.info(f"SageMaker: {subject} could not be checked before the first job ({error}).")
