"""Names of training jobs, from which running jobs are found again: RULE-…-PREFIX-KEY-RANDOM, 63 characters at most."""

import hashlib
import re
import secrets

_RULE_LENGTH = 32


def namespace(s3_prefix: str) -> str:
    """Return the part that all jobs of one S3 prefix share, for ListTrainingJobs' NameContains."""
    return f"-{hashlib.sha256(s3_prefix.rstrip('/').encode()).hexdigest()[:8]}-"


def key_part(key: str) -> str:
    """Return the part that stands for a job's key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def job_label(job) -> str:
    """Return rule and wildcards as a readable part of a name: letters, digits and single hyphens."""
    wildcards = getattr(job, "wildcards_dict", None) or {}
    words = "-".join([job.name, *(str(value) for value in wildcards.values())])
    return re.sub(r"[^a-zA-Z0-9]+", "-", words)[:_RULE_LENGTH].strip("-") or "job"


def training_job_name(label: str, s3_prefix: str, key: str) -> str:
    """Return a new name; its end is random, because a name can be used once in an account's life."""
    return f"{label}{namespace(s3_prefix)}{key_part(key)}-{secrets.token_hex(3)}"


def key_part_of(training_job: str) -> str:
    """Return the key's part of a name that training_job_name has made."""
    return training_job.rsplit("-", 2)[1]
