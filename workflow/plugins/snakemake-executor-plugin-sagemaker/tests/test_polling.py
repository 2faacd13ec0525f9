"""Few calls for many jobs, and what AWS's answers mean."""

import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from loopback import SlowStart, server_error
from loopback.examples import request
from running import PREFIX
from snakemake_executor_plugin_sagemaker import ExecutorSettings, outcomes, submission
from snakemake_executor_plugin_sagemaker.flights import Flight
from snakemake_executor_plugin_sagemaker.names import training_job_name
from snakemake_executor_plugin_sagemaker.outcomes import Meaning
from snakemake_executor_plugin_sagemaker.polling import Poller

LOGGER = logging.getLogger("test")


@pytest.fixture
def client(loopback):
    return boto3.client("sagemaker")


def flights(client, names: list[str]) -> list[Flight]:
    found = []
    for name in names:
        client.create_training_job(**request(name, "true"))
        flight = Flight(None, "train", name, None, {}, [], [])
        flight.training_job, flight.created, flight.submitted = name, datetime.now(UTC), True
        found.append(flight)
    return found


def test_fifty_jobs_cost_one_call_a_poll(loopback, bucket, client):
    """So with a poll every 30 s: 1/50 of a call per job per 30 s."""
    loopback.plan(SlowStart(seconds=600, times=51))
    running = flights(client, [training_job_name("train", PREFIX, str(number)) for number in range(50)])
    flights(client, [training_job_name("train", PREFIX + "-of-others", "1")])
    poller = Poller(client, PREFIX, LOGGER)
    before = len(loopback.requests)
    for _ in range(3):
        states = poller.states(running)
        assert set(states) == {flight.training_job for flight in running}
        assert {state[0] for state in states.values()} == {"InProgress"}
    new = [each.operation for each in list(loopback.requests)[before:]]
    assert new == ["ListTrainingJobs"] * 3
    assert poller.states([]) == {}
    assert len(loopback.requests) == before + 3


def test_an_answer_that_fails_is_no_end_of_a_job(loopback, bucket, caplog):
    client = boto3.client("sagemaker", config=boto3.session.Config(retries={"total_max_attempts": 1}))
    loopback.plan(SlowStart(seconds=600))
    [flight] = flights(client, [training_job_name("train", PREFIX, "key")])
    poller = Poller(client, PREFIX, LOGGER)
    loopback.plan(server_error(operation="ListTrainingJobs", times=2), server_error(operation="DescribeTrainingJob"))
    assert poller.states([flight]) == poller.states([flight]) == {}
    assert poller.failures == 2
    assert poller.description(flight) is None
    assert flight.unseen == 0
    assert list(poller.states([flight])) == [flight.training_job]
    assert poller.failures == 0


def test_a_job_that_vanished_is_asked_for_by_name(loopback, bucket, client):
    flight = Flight(None, "train", "key", None, {}, [], [])
    flight.training_job, flight.created = training_job_name("train", PREFIX, "key"), datetime.now(UTC)
    poller = Poller(client, PREFIX, LOGGER)
    assert poller.description(flight) is None  # a new job may take a moment to be known
    while not poller.is_overdue(flight):
        poller.states([flight])
    with pytest.raises(LookupError, match="does not exist any more"):
        poller.description(flight)


def client_error(code: str, message: str = "", status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "CreateTrainingJob")


QUOTA = "is {limit} Instances, with current utilization of 1 Instances and a request delta of {wanted} Instances."

SECONDS = "is 432000 Seconds, with current utilization of 0 Seconds and a request delta of 864000 Seconds."


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (client_error("ResourceInUse"), Meaning.EXISTS),
        (client_error("ResourceLimitExceeded", QUOTA.format(limit=4, wanted=4)), Meaning.QUOTA),
        (client_error("ResourceLimitExceeded", QUOTA.format(limit=0, wanted=1)), Meaning.FAILED),
        (client_error("ResourceLimitExceeded", SECONDS), Meaning.FAILED),
        (client_error("ResourceLimitExceeded", "some other limit"), Meaning.QUOTA),
        (client_error("ThrottlingException"), Meaning.THROTTLED),
        (client_error("Whatever", status=503), Meaning.PLATFORM),
        (client_error("ValidationException"), Meaning.FAILED),
        (client_error("AccessDeniedException"), Meaning.FAILED),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1"), Meaning.PLATFORM),
        (TypeError("a mistake of ours"), Meaning.FAILED),
    ],
)
def test_errors_of_creation_have_a_meaning(error, meaning):
    assert outcomes.of_creation_error(error)[0] is meaning


@pytest.mark.parametrize(
    ("status", "secondary", "reason", "meaning"),
    [
        ("Completed", "Completed", "", Meaning.SUCCESS),
        ("Failed", "Failed", "CapacityError: Unable to provision requested ML compute capacity.", Meaning.CAPACITY),
        ("Failed", "Failed", "InternalServerError: We encountered an internal error.", Meaning.PLATFORM),
        ("Failed", "Failed", "AlgorithmError: InternalServerError in a user's text, exit code: 1", Meaning.FAILED),
        ("Failed", "Failed", "ClientError: Cannot pull the image", Meaning.FAILED),
        ("Stopped", "MaxRuntimeExceeded", "", Meaning.FAILED),
        ("Stopped", "MaxWaitTimeExceeded", "", Meaning.FAILED),
        ("Stopped", "Stopped", "", Meaning.FAILED),
    ],
)
def test_ends_have_a_meaning(status, secondary, reason, meaning):
    description = {"TrainingJobStatus": status, "SecondaryStatus": secondary, "FailureReason": reason}
    assert outcomes.of_end(description)[0] is meaning


def test_a_wait_for_a_quota_is_told_at_first_and_then_every_hour(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(submission.time, "monotonic", lambda: now[0])
    flight = Flight(
        None,
        "train",
        "key",
        SimpleNamespace(instance_types=("ml.g5.xlarge",), instance_type="ml.g5.xlarge", spot=False, keep_alive=0),
        {},
        [],
        [],
    )
    submitter = submission.Submitter(None, ExecutorSettings(), None, None, LOGGER)
    told = []
    with caplog.at_level(logging.INFO):
        for now[0] in (0.0, 60.0, 3590.0, 3610.0, 3700.0, 7300.0):
            caplog.clear()
            submitter.again(flight, Meaning.QUOTA, "all in use")
            told.append("all in use" in caplog.text)
    assert told == [True, False, False, True, False, True]


def test_quota_counts_by_kind_of_instance():
    resources = SimpleNamespace(instance_types=("ml.g5.xlarge",), instance_type="ml.g5.xlarge", spot=True, keep_alive=0)
    assert Flight(None, "a", "k", resources, {}, [], []).kind == ("ml.g5.xlarge", True, False)
