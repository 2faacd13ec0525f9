"""The Snakemake process: what the user typed, the lock, the markers, and what the rules ask for."""

from pipeline.session.command_line import cluster_of, profile_config
from pipeline.session.session import open_session
from pipeline.session.terminal import PLUGIN_SOURCES

__all__ = ["PLUGIN_SOURCES", "cluster_of", "open_session", "profile_config"]
