"""Which training jobs this working directory has started and not yet seen to their end, one file each.

A controller that crashed leaves them here and in AWS. The next invocation adopts: a job that still runs, whoever has
started it, and a job that has completed meanwhile, if this directory has started it. So nothing runs twice, and a
job that is asked for again on purpose (`--force`) does run again.
"""

import json
from pathlib import Path

from .names import key_part, key_part_of, namespace
from .outcomes import ENDED


class Journal:
    """Files below FOLDER."""

    def __init__(self, folder: Path):
        self._folder = folder

    def open(self, training_job: str, key: str) -> None:
        """Note a training job before it is created."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / training_job).write_text(json.dumps({"key": key}), encoding="utf-8")

    def stopping(self, training_job: str, key: str) -> None:
        """Note that a training job was told to stop: it is no longer one that works, for whoever looks here."""
        file = self._folder / training_job
        if file.exists():
            file.write_text(json.dumps({"key": key, "stopping": True}), encoding="utf-8")

    def close(self, training_job: str) -> None:
        """Forget a training job whose end was dealt with."""
        (self._folder / training_job).unlink(missing_ok=True)

    def entries(self) -> list[str]:
        """Return the training jobs that were not closed."""
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []


class Orphans:
    """Training jobs without a controller, looked up once an invocation."""

    def __init__(self, client, s3_prefix: str, journal: Journal, logger):
        self._client, self._journal, self._logger = client, journal, logger
        self._namespace = namespace(s3_prefix)
        self._by_key: dict[str, dict] | None = None

    def take(self, key: str) -> dict | None:
        """Return an orphan with this key (TrainingJobName, CreationTime) and hand it out never again; None if none."""
        if self._by_key is None:
            self._by_key = self._find()
        return self._by_key.pop(key_part(key), None)

    def _find(self) -> dict[str, dict]:
        found = {}
        pages = self._client.get_paginator("list_training_jobs").paginate(
            NameContains=self._namespace, StatusEquals="InProgress", SortBy="CreationTime", SortOrder="Ascending"
        )
        for page in pages:
            for summary in page["TrainingJobSummaries"]:
                found[key_part_of(summary["TrainingJobName"])] = summary
        running = {summary["TrainingJobName"] for summary in found.values()}
        for name in self._journal.entries():
            if name in running or self._namespace not in name:
                continue
            summary = self._completed(name)
            if summary:
                found.setdefault(key_part_of(name), summary)
        return found

    def _completed(self, name: str) -> dict | None:
        """Return the description of a completed job; forget one that has failed or never was created."""
        try:
            description = self._client.describe_training_job(TrainingJobName=name)
        except self._client.exceptions.ClientError as error:
            if "not found" not in str(error).lower():
                raise
            self._journal.close(name)
            return None
        if description["TrainingJobStatus"] == "Completed":
            return description
        if description["TrainingJobStatus"] in ENDED:
            self._journal.close(name)
        return None
