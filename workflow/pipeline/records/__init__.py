"""What is measured of executions beside the ledger: it decides nothing, and the plan learns from it."""

from pipeline.records.measurements import add_to_record, measured, time_of

__all__ = ["add_to_record", "measured", "time_of"]
