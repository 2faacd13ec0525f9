"""`tracking:` what is logged and saved on the way; never changes a result, so never re-runs a stage."""

from typing import Any, Literal

from pydantic import Field

from heirloom.config.section import Section

Tracker = Literal["none", "wandb", "tensorboard", "mlflow", "trackio"]
LogLevel = Literal["passive", "debug", "info", "warning", "error", "critical"]


class TrackingSection(Section):
    """Keys of transformers.TrainingArguments that leave the result as it is."""

    report_to: Tracker | list[Tracker] = Field("none", description="where metrics go while training")
    run_name: str | None = Field(None, description="name of the run at the tracker; absent: the run's own")
    project: str = Field("heirloom", description="project at the tracker")
    logging_steps: int = Field(10, ge=1, description="optimizer steps between two log lines")
    logging_first_step: bool = Field(True, description="log the first step too")
    logging_nan_inf_filter: bool = Field(False, description="replace NaN and infinite losses in the log by the mean")
    log_level: LogLevel = Field("passive", description="transformers' log level on the first rank")
    log_level_replica: LogLevel = Field("warning", description="transformers' log level on the other ranks")
    include_num_input_tokens_seen: bool | Literal["all", "non_padding", "no"] = Field(
        "no", description="log how many tokens were read"
    )
    disable_tqdm: bool | None = Field(None, description="no progress bar; absent: the launcher decides")
    save_steps: int = Field(500, ge=1, description="optimizer steps between two checkpoints for resuming")
    save_total_limit: int = Field(1, ge=1, description="checkpoints for resuming that are kept")

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys under transformers' names."""
        return self.model_dump()
