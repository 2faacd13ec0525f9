"""What the page takes of the terminal's logger plugin, so that both read lines of progress and say times alike."""

import sys

from pipeline.session import PLUGIN_SOURCES

sys.path.append(str(PLUGIN_SOURCES))  # this clone's own, as the session takes it: there may be none installed

from snakemake_logger_plugin_heirloom.failure import cause, last_lines
from snakemake_logger_plugin_heirloom.progress import LogFollower, Progress
from snakemake_logger_plugin_heirloom.speech import clock, duration

__all__ = ["LogFollower", "Progress", "cause", "clock", "duration", "last_lines"]
