"""What an error of CreateTrainingJob and what the end of a training job mean: try again, wait, or give up."""

import re
from enum import Enum

from botocore.exceptions import BotoCoreError, ClientError

ENDED = ("Completed", "Failed", "Stopped")
_THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
_PLATFORM = {"InternalFailure", "InternalServerError", "InternalServerException", "ServiceUnavailable"}
_PLATFORM |= {"ServiceUnavailableException", "RequestTimeout"}
# of instances, and of seconds that a job may run: "… is 432000 Seconds … and a request delta of 864000 Seconds"
_QUOTA_TEXT = re.compile(r"is (?P<limit>\d+) (?P<unit>\w+).*?request delta of (?P<wanted>\d+) (?P=unit)", re.DOTALL)


class Meaning(Enum):
    """What to do about an error or an end."""

    SUCCESS = "success"
    EXISTS = "the job exists already"
    QUOTA = "quota"
    CAPACITY = "capacity"
    PLATFORM = "platform"
    THROTTLED = "throttled"
    FAILED = "failed"


def of_creation_error(error: Exception) -> tuple[Meaning, str]:
    """Return what an error of CreateTrainingJob means, and a sentence."""
    if not isinstance(error, ClientError):
        meaning = Meaning.PLATFORM if isinstance(error, BotoCoreError) else Meaning.FAILED
        return meaning, f"{type(error).__name__}: {error}"
    details = error.response.get("Error", {})
    code, text = details.get("Code", ""), details.get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if code == "ResourceInUse":
        return Meaning.EXISTS, text
    if code == "ResourceLimitExceeded":
        found = _QUOTA_TEXT.search(text)
        if found and int(found["limit"]) < int(found["wanted"]):
            return Meaning.FAILED, f"the account's quota can never hold this job, ask AWS to raise it: {text}"
        return Meaning.QUOTA, text
    if code in _THROTTLED:
        return Meaning.THROTTLED, f"{code}: {text}"
    if code in _PLATFORM or status >= 500:
        return Meaning.PLATFORM, f"{code}: {text}"
    if "CapacityError" in text:
        return Meaning.CAPACITY, text
    return Meaning.FAILED, f"{code}: {text}"


def of_end(description: dict) -> tuple[Meaning, str]:
    """Return what the end of a training job means, and a sentence; DESCRIPTION is DescribeTrainingJob's answer."""
    status, secondary = description["TrainingJobStatus"], description["SecondaryStatus"]
    reason = description.get("FailureReason", "")
    limits = description.get("StoppingCondition", {})
    if status == "Completed":
        return Meaning.SUCCESS, ""
    if secondary == "MaxRuntimeExceeded":
        return Meaning.FAILED, (
            f"it ran longer than max_runtime ({limits.get('MaxRuntimeInSeconds')} s) and was stopped; raise max_runtime"
        )
    if secondary == "MaxWaitTimeExceeded":
        return Meaning.FAILED, (
            f"it waited for spot capacity and ran longer than max_wait ({limits.get('MaxWaitTimeInSeconds')} s) "
            "and was stopped; raise max_wait or set spot=0"
        )
    if status == "Stopped" and "MaxPendingTimeInSeconds" in limits and "TrainingStartTime" not in description:
        return Meaning.FAILED, (
            "it was stopped before it had machines: by SageMaker after max_pending "
            f"({limits['MaxPendingTimeInSeconds']} s), or from elsewhere; raise max_pending or name more instance types"
        )
    if status == "Stopped":
        return Meaning.FAILED, "it was stopped from elsewhere (StopTrainingJob)"
    if reason.startswith("CapacityError") or "Unable to provision requested ML compute capacity" in reason:
        return Meaning.CAPACITY, reason
    if reason.startswith(("InternalServerError", "InternalError")):
        return Meaning.PLATFORM, reason
    return Meaning.FAILED, reason or "no reason given"
