"""The Snakemake process: what the user typed, the lock, the markers, and what the rules ask for."""

from pipeline.session.session import open_session

__all__ = ["open_session"]
