"""One job: bring a stage up to date by the cheapest means, with data here (`local_job`) or on a remote."""

from pipeline.execution import job_remote, local_job, remote_job
from pipeline.execution.job_output import VARIABLE as JOB_OUTPUT
from pipeline.execution.job_output import keep_output
from pipeline.execution.job_remote import data_is_remote
from pipeline.execution.local_job import CONTROLLER
from pipeline.execution.training_job import join
from pipeline.execution.transfer import absent, push_once
from pipeline.execution.under_dvc import begin, end

__all__ = [
    "CONTROLLER", "JOB_OUTPUT", "absent", "begin", "data_is_remote", "end", "job_remote", "join", "keep_output",
    "local_job", "push_once", "remote_job",
]  # fmt: skip
