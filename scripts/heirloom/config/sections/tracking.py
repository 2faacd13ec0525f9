"""`tracking:` what is logged and saved on the way; never changes a result, so never re-runs a stage."""

from typing import Literal

from pydantic import Field

from heirloom.config.parsing.section import Section

Tracker = Literal["none", "wandb", "tensorboard", "mlflow", "trackio"]
LogLevel = Literal["passive", "debug", "info", "warning", "error", "critical"]


class TrackingSection(Section):
    """What leaves the result as it is, under the names of transformers.TrainingArguments and TRL."""

    report_to: Tracker | list[Tracker] = Field("none", description="where metrics go while training")
    run_name: str | None = Field(None, description="name of the run at the tracker; absent: the run's own")
    project: str = Field("heirloom", description="project at the tracker")
    logging_steps: int = Field(10, ge=1, description="optimizer steps between two log lines")
    logging_first_step: bool = Field(True, description="log the first step too")
    num_completions_to_print: int = Field(
        1, ge=0, description="grpo, rloo: answers that the log, W&B and TensorBoard show every logging_steps; 0: none"
    )
    log_level: LogLevel = Field("passive", description="transformers' log level on the first rank")
    log_level_replica: LogLevel = Field("warning", description="transformers' log level on the other ranks")
    s3_upload_dir: str | None = Field(
        None, pattern="^s3://[^/]+/.+", description="generations go to s3://bucket/prefix/RUN too, when they are made"
    )
    save_steps: int = Field(500, ge=1, description="optimizer steps between two checkpoints for resuming")
    save_minutes: float | None = Field(
        None,
        gt=0,
        description="longest time between two checkpoints for resuming, minutes; absent: save_steps alone says",
    )
    save_total_limit: int = Field(1, ge=1, description="checkpoints for resuming that are kept (SageMaker: 2 or more)")
