"""What a user may set of the plugin: `--logger-heirloom-…`."""

from dataclasses import dataclass, field

from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Settings of the plugin."""

    interval: float = field(
        default=30.0,
        metadata={
            "help": "Seconds between two lines of a job's progress, where the output is no terminal.",
            "type": float,
        },
    )
    job_output: str | None = field(
        default=None,
        metadata={
            "type": str,
            "help": "Folder in which each job keeps what it writes to stdout and stderr, as NAME.txt; NAME is that of "
            "its log file.",
        },
    )
