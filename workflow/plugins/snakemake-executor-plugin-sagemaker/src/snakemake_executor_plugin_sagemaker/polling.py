"""The state of all training jobs by few calls: one page of ListTrainingJobs holds a hundred."""

from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError

from .flights import Flight
from .names import namespace

_CLOCK_SKEW = timedelta(minutes=15)
_UNSEEN_LIMIT = 10  # polls; a new job may take a moment to appear in lists


class Poller:
    """Asks SageMaker for states. Errors of AWS mean that nothing is known this time, never that a job has failed."""

    def __init__(self, client, s3_prefix: str, logger):
        self._client, self._logger = client, logger
        self._namespace = namespace(s3_prefix)
        self.failures = 0  # polls in a row that failed

    def states(self, flights: list[Flight]) -> dict[str, tuple[str, str]]:
        """Return training job → (status, secondary status) for those of FLIGHTS that a list shows."""
        wanted = {flight.training_job for flight in flights}
        if not wanted:
            return {}
        oldest = min(flight.created for flight in flights) - _CLOCK_SKEW
        states = {}
        try:
            pages = self._client.get_paginator("list_training_jobs").paginate(
                NameContains=self._namespace,
                CreationTimeAfter=oldest,
                SortBy="CreationTime",
                SortOrder="Descending",
                PaginationConfig={"PageSize": 100},
            )
            for page in pages:
                for summary in page["TrainingJobSummaries"]:
                    name = summary["TrainingJobName"]
                    if name in wanted:
                        states[name] = summary["TrainingJobStatus"], summary.get("SecondaryStatus", "")
                if len(states) == len(wanted):
                    break
        except (ClientError, BotoCoreError) as error:
            self.failures += 1
            self._logger.warning(f"SageMaker did not say how the jobs are, asking again later: {error}")
            return states
        self.failures = 0
        for flight in flights:
            flight.unseen = 0 if flight.training_job in states else flight.unseen + 1
        return states

    def description(self, flight: Flight) -> dict | None:
        """Return DescribeTrainingJob's answer, None when AWS gives none now.

        Raises LookupError when there is no such job.
        """
        try:
            return self._client.describe_training_job(TrainingJobName=flight.training_job)
        except ClientError as error:
            if "not found" in str(error).lower() and flight.unseen >= _UNSEEN_LIMIT:
                raise LookupError(f"the training job {flight.training_job} does not exist any more") from error
            self._logger.warning(f"SageMaker did not describe {flight.training_job}, asking again later: {error}")
        except BotoCoreError as error:
            self._logger.warning(f"SageMaker did not describe {flight.training_job}, asking again later: {error}")
        return None

    def is_overdue(self, flight: Flight) -> bool:
        """Say whether so many lists lacked a job that it has to be asked for by name."""
        return flight.unseen >= _UNSEEN_LIMIT
