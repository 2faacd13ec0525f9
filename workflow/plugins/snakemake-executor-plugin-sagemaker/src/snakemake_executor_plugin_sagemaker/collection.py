"""What a training job returned, written to the working directory."""

import json
from pathlib import Path

from .objects import ObjectStore
from .transfer import receive


class ResultsError(Exception):
    """A training job that completed without returning what it should."""


def collect(store: ObjectStore, training_job: str, root: Path) -> dict:
    """Write the files that TRAINING_JOB returned below ROOT and return its result ("status", "error", "files", …).

    Returns {} when it returned nothing, as a job that never came to run does. Raises ResultsError when an object is
    missing or damaged.
    """
    data = store.get_result(training_job)
    if data is None:
        return {}
    result = json.loads(data)
    try:
        receive([*result["files"], *result["logs"]], root, store)
    except Exception as error:
        raise ResultsError(f"the results of {training_job} could not be fetched: {error}") from error
    return result


def require_success(result: dict, training_job: str) -> None:
    """Raise ResultsError when a completed training job left no result that says success."""
    if result.get("status") != "succeeded":
        raise ResultsError(
            f"{training_job} completed but returned {'a failure' if result else 'no result'}; "
            "does its image have this version of the plugin, and its role access to the S3 prefix?"
        )
