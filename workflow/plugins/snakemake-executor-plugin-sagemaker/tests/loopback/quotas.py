"""Service Quotas for training instances, and their enforcement when a job is created."""

import base64
import hashlib

from .errors import AwsError

UNLIMITED = 1000.0
LONGEST_RUN = "Longest run time for a training job"
"""Seconds; AWS's default is five days."""


class ServiceQuotas:
    """The account's quotas: instances of a type in training jobs at once. A test sets `limits[name] = number`."""

    def __init__(self, instance_types: list[str]):
        self.limits: dict[str, float] = {}
        self.limits[LONGEST_RUN] = 432000.0
        for instance_type in instance_types:
            for spot in (False, True):
                self.limits[quota_name(instance_type, spot)] = UNLIMITED

    def check(self, instance_type: str, spot: bool, count: int, in_use: int, seconds: int) -> None:
        """Raise ResourceLimitExceeded when `count` instances beside those `in_use`, or `seconds`, are too many."""
        if seconds > self.limits[LONGEST_RUN]:
            raise AwsError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{LONGEST_RUN}' is {self.limits[LONGEST_RUN]:g} Seconds, with "
                f"current utilization of 0 Seconds and a request delta of {seconds} Seconds. Please use AWS Service "
                "Quotas to request an increase for this quota.",
            )
        name = quota_name(instance_type, spot)
        if in_use + count > self.limits[name]:
            raise AwsError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{name}' is {self.limits[name]:g} Instances, with current "
                f"utilization of {in_use} Instances and a request delta of {count} Instances. Please use AWS Service "
                "Quotas to request an increase for this quota.",
            )

    def operations(self) -> dict:
        return {"ListServiceQuotas": self.list_service_quotas, "GetServiceQuota": self.get_service_quota}

    def list_service_quotas(self, request: dict) -> dict:
        _check_service(request)
        names = sorted(self.limits)
        if "QuotaCode" in request:
            names = [name for name in names if _code(name) == request["QuotaCode"]]
        token = request.get("NextToken")
        first, limit = int(base64.b64decode(token)) if token else 0, request.get("MaxResults", 100)
        page = {"Quotas": [self._describe(name) for name in names[first : first + limit]]}
        if first + limit < len(names):
            page["NextToken"] = base64.b64encode(str(first + limit).encode()).decode()
        return page

    def get_service_quota(self, request: dict) -> dict:
        _check_service(request)
        name = next((name for name in self.limits if _code(name) == request["QuotaCode"]), None)
        if name is None:
            raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.")
        return {"Quota": self._describe(name)}

    def _describe(self, name: str) -> dict:
        return {
            "ServiceCode": "sagemaker",
            "ServiceName": "Amazon SageMaker",
            "QuotaName": name,
            "QuotaCode": _code(name),
            "Value": self.limits[name],
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }


def quota_name(instance_type: str, spot: bool = False) -> str:
    """The name under which AWS lists the quota of a type."""
    return f"{instance_type} for {'spot ' if spot else ''}training job usage"


def _code(name: str) -> str:
    """A code in AWS's form. AWS's own codes are drawn by chance, so a client has to look them up by name."""
    return "L-" + hashlib.sha256(name.encode()).hexdigest()[:8].upper()


def _check_service(request: dict) -> None:
    if request["ServiceCode"] != "sagemaker":
        raise AwsError("NoSuchResourceException", "The request failed because the specified service does not exist.")
