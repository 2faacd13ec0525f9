"""What a training job returned, written to the working directory."""

import json
from collections.abc import Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from .objects import LARGEST_RESULT, DamagedObjectError, ObjectStore
from .transfer import UnsafePathError, are_entries, receive


class ResultsError(Exception):
    """A training job that completed without returning what it should."""


class UnreachableResultsError(ResultsError):
    """Results that exist and could not be fetched now."""


def collect(store: ObjectStore, training_job: str, root: Path, allowed: Sequence[str]) -> dict:
    """Write the files that TRAINING_JOB returned below ROOT and return its result ("status", "error", "files", …).

    ALLOWED: paths below ROOT that may be written, with all below them: what a result says is no more to be believed
    than whoever can write to the prefix. Returns {} when it returned nothing, as a job that never came to run does.
    Raises ResultsError when an object is missing, damaged or not allowed here, UnreachableResultsError when S3 did not
    answer or refused.
    """
    try:
        data = store.get_result(training_job)
        if data is None:
            return {}
        result = _read(data, training_job)
        receive([*result["files"], *result["logs"]], root, store, allowed)
    except (BotoCoreError, ClientError) as error:
        text = f"the results of {training_job} could not be fetched: {error}"
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            raise ResultsError(text) from error
        raise UnreachableResultsError(f"{text}; they are kept, the next invocation tries again") from error
    except (DamagedObjectError, UnsafePathError, OSError) as error:
        raise ResultsError(f"the results of {training_job} were not taken: {error}") from error
    return result


def _read(data: bytes, training_job: str) -> dict:
    """Return a result. Raises ResultsError for one that no container of ours writes."""
    try:
        result = json.loads(data) if len(data) <= LARGEST_RESULT else None
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict) or not (are_entries(result.get("files")) and are_entries(result.get("logs"))):
        raise ResultsError(
            f"the results of {training_job} were not taken: its result file is not what a job writes; somebody else "
            "can write to the prefix, or its image has another version of the plugin"
        )
    return result


def require_success(result: dict, training_job: str) -> None:
    """Raise ResultsError when a completed training job left no result that says success."""
    if result.get("status") != "succeeded":
        raise ResultsError(
            f"{training_job} completed but returned {'a failure' if result else 'no result'}; "
            "does its image have this version of the plugin, and its role access to the S3 prefix?"
        )
