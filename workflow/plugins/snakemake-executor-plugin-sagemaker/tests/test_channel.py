"""What hosts tell each other, in one process on addresses of loopback."""

import threading

import pytest

from snakemake_executor_plugin_sagemaker.container import channel
from snakemake_executor_plugin_sagemaker.container.failure import Failure
from snakemake_executor_plugin_sagemaker.container.hosts import Hosts

NAMES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


def hosts(current: str) -> Hosts:
    return Hosts(NAMES, current, "lo", "ml.m5.xlarge")


@pytest.fixture
def head():
    told = threading.Event()
    made = channel.Head(hosts(NAMES[0]), "job", 10, told.set)
    made.told = told
    yield made
    made.settle = 0.0  # nobody is waited for any more
    made.finish(None)


def worker(name: str, job: str = "job") -> channel.Worker:
    return channel.Worker(hosts(name), job, 5, lambda: None)


def test_the_first_failure_in_time_is_the_jobs_on_every_host(head):
    workers = [worker(name) for name in NAMES[1:]]
    cause = Failure(NAMES[2], "out of memory", 100.0)
    reports = [
        threading.Thread(target=workers[0].report, args=(Failure(NAMES[1], "connection reset", 101.0),)),
        threading.Thread(target=workers[1].report, args=(cause,)),
    ]
    reports[0].start()
    assert head.told.wait(10)
    reports[1].start()
    own = Failure(NAMES[0], "connection reset by peer", 100.5)
    while head.first_failure(own) != cause:
        pass
    head.settle = 0.0  # these workers never leave
    head.finish(head.first_failure(own))
    for report in reports:
        report.join()
    assert [each.failure for each in workers] == [cause, cause]


def test_a_late_host_hears_that_all_went_well(head):
    early = worker(NAMES[1])
    finishing = threading.Thread(target=head.finish, args=(None,))
    finishing.start()
    late = worker(NAMES[2])
    assert early.wait(10)
    assert late.wait(10)
    assert early.failure is late.failure is None
    for each in (early, late):
        each.close()
    finishing.join()


def test_another_jobs_host_is_not_let_in(head):
    stranger = worker(NAMES[1], job="another")
    assert stranger.wait(10)
    assert "was lost" in stranger.failure.text
    assert not head.told.is_set()


def test_a_host_that_vanishes_fails_the_job_on_the_head(head):
    workers = [worker(name) for name in NAMES[1:]]
    workers[1]._ready.wait(10)
    workers[1].close()
    assert head.told.wait(10)
    assert head.first_failure(None).sentence() == "127.0.0.3: the host was lost: no sign of life from 127.0.0.3"
