"""What is set once a workflow, on the command line (`--sagemaker-…`) or in a profile (`sagemaker-…:`)."""

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase


def _setting(help_text: str, default=None, **metadata):
    return field(default=default, metadata={"help": help_text, "env_var": False, "required": False, **metadata})


def _list(help_text: str, metavar: str):
    # Snakemake's interface turns a whole list into one value of `type`; with parse functions it stays a list.
    return _setting(help_text, type=str, nargs="+", metavar=metavar, parse_func=list, unparse_func=list)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Settings of the executor; those that a job can override say so and have a resource of the same name."""

    role: str | None = _setting("ARN of the execution role that training jobs run with (required).", type=str)
    region: str | None = _setting("AWS region; default: that of the AWS configuration.", type=str)
    s3_prefix: str | None = _setting(
        "s3://BUCKET/PREFIX below which sources, job files, results and checkpoints are kept (required).", type=str
    )
    image: str | None = _setting(
        "Container image with Python, Snakemake and this plugin (required here or as resource `image`).", type=str
    )
    instance_type: str | None = _setting(
        "Default of the resource `instance_type`, for example ml.m5.xlarge; several (A,B) are tried in turn.",
        type=str,
    )
    capacity_wait: int = _setting(
        "Where `instance_type` names several: seconds without capacity of one until the next is tried.", 900, type=int
    )
    instance_count: int = _setting("Default of the resource `instance_count`.", 1, type=int)
    volume_size: int = _setting("Default of the resource `volume_size`: GB of the disk of each host.", 30, type=int)
    max_runtime: int = _setting("Default of the resource `max_runtime`: seconds a job may run.", 86400, type=int)
    max_pending: int | None = _setting(
        "Default of the resource `max_pending`: seconds that SageMaker lets a job wait for accelerated machines.",
        type=int,
    )
    maximum_retry_attempts: int = _setting(
        "Default of the resource `maximum_retry_attempts`: how often SageMaker itself starts a job again.",
        0,
        type=int,
    )
    infra_check: bool = _setting(
        "Default of the resource `infra_check`: SageMaker looks at GPUs and network before a job starts.", False
    )
    training_plan_arn: str | None = _setting(
        "Default of the resource `training_plan_arn`: a training plan whose reserved machines jobs run on.", type=str
    )
    subnets: list[str] | None = _list("Subnets of the VPC that jobs run in.", "SUBNET")
    security_group_ids: list[str] | None = _list("Security groups of the VPC that jobs run in.", "GROUP")
    traffic_encryption: bool = _setting(
        "Default of the resource `traffic_encryption`: encrypt what the hosts of a job send each other.", False
    )
    kms_key: str | None = _setting("KMS key for what is written to S3.", type=str)
    volume_kms_key: str | None = _setting(
        "KMS key for the disks; not sent for instance types with local disks, for which SageMaker accepts none.",
        type=str,
    )
    tags: list[str] | None = _list("Tags of every training job.", "KEY=VALUE")
    environment: list[str] | None = _list(
        "Variables of the jobs. NAME=VALUE; NAME takes the value from here; a secret is given by reference: "
        "NAME=ssm:/parameter, NAME=secretsmanager:ARN or NAME=secretsmanager:ARN#KEY, and is read inside the job.",
        "NAME=VALUE",
    )
    worker_command: str | None = _setting(
        "With several hosts: shell command that every host but the first runs while the first runs the Snakemake job. "
        "Formatted like a rule's shell command. Default: they wait until the first has ended.",
        type=str,
    )
    prices: list[str] | None = _list(
        "On-demand price of instance types in USD an hour, for the cost in the records.", "TYPE=PRICE"
    )
    record: str | None = _setting(
        "Path of the JSON file that time and cost of a job are written to, formatted like a rule's shell command; "
        "a job overrides it with the resource `record`. Default: .snakemake/sagemaker/records/RULE-KEY.json.",
        type=str,
    )
    return_files: list[str] | None = _list(
        "Files and folders that a job may return beside its outputs, benchmark and logs, formatted like a rule's shell "
        "command; a job overrides it with the resource `return_files`. What else it returns is refused.",
        "PATH",
    )
    skip_preflight: bool = _setting("Do not ask AWS for bucket, image and quotas before the first job.", False)
    endpoint_url: str | None = _setting("Endpoint of the SageMaker API (VPC endpoints, tests).", type=str)
    logs_endpoint_url: str | None = _setting("Endpoint of CloudWatch Logs; default: that of endpoint_url.", type=str)
    python: str = _setting("Python of the image.", "python", type=str)
    host_timeout: int = _setting(
        "Seconds that hosts of one job wait for each other to start. One that falls silent is given up after 30 s.",
        1800,  # images are pulled and checkpoints brought for minutes, on no two hosts equally long
        type=int,
    )
    retry_wait: float = _setting(
        "Seconds before a job without capacity is submitted again; doubles up to sixteen times as much.",
        60.0,
        type=float,
    )
    capacity_retries: int = _setting(
        "How often a job is submitted again when there is no capacity or AWS throttles.", 40, type=int
    )
    platform_retries: int = _setting("How often a job is submitted again after an error of AWS itself.", 3, type=int)
    log_lines: int = _setting("Lines of a failed job's log to show.", 30, type=int)


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # a command is stored and logged: no place for secrets
    auto_deploy_default_storage_provider=False,  # it would install an unpinned version at every start of a job
    # The thread that asks for the state of jobs starts before Executor.__post_init__ has run.
    init_seconds_before_status_checks=1,
    can_transfer_local_files=True,
)
