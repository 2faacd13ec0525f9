"""What the terminal shows while Snakemake works: our own logger plugin, unless the user names another."""

import os
import sys
from pathlib import Path

from snakemake.logging import LoggerManager
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from pipeline.execution import JOB_OUTPUT
from pipeline.paths import JOB_OUTPUT_FOLDER

PLUGIN = "heirloom"
PLUGIN_SOURCES = Path(__file__).resolve().parents[2] / "plugins" / f"snakemake-logger-plugin-{PLUGIN}" / "src"
SNAKEMAKES_OWN = "DefaultStreamHandler"


def open_terminal(manager: LoggerManager, options, jobs_here: bool) -> None:
    """Let the plugin speak from here on; with `jobs_here`, jobs keep their own output in files from which it reads.

    It is taken from this clone, so that nothing has to be installed for it and it fits the workflow; `--logger NAME`
    takes another one, `--verbose` shows all that Snakemake and the stages say, and the causes of failures after it.
    """
    chosen = list(options.logger)
    verbose = options.verbose or options.debug_dag
    if chosen not in ([], [PLUGIN]) or (verbose and chosen):
        return
    job_output = None if verbose else str(JOB_OUTPUT_FOLDER)
    if jobs_here and job_output:
        os.environ[JOB_OUTPUT] = job_output
    if chosen:
        for handler in manager.get_log_handlers():
            handler.settings.job_output = job_output
        return
    if str(PLUGIN_SOURCES) not in sys.path:
        sys.path.append(str(PLUGIN_SOURCES))
    import snakemake_logger_plugin_heirloom as module

    registry = LoggerPluginRegistry()
    registry.register_plugin(module.__name__, module)
    settings = module.LogHandlerSettings(job_output=job_output)
    plugin = registry.get_plugin(PLUGIN)
    for handler in list(manager.logger.handlers):
        if handler.name == SNAKEMAKES_OWN:
            manager.logger.removeHandler(handler)
    manager.logger.addHandler(plugin.log_handler(manager.settings, settings))
