"""Snakemake logger plugin: a line a job as it starts and ends, bars with the time left, causes of failures last."""

from snakemake_logger_plugin_heirloom.handler import LogHandler
from snakemake_logger_plugin_heirloom.settings import LogHandlerSettings

__all__ = ["LogHandler", "LogHandlerSettings"]
