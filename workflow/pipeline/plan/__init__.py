"""What would run and why, for people. Nothing here decides or changes anything."""

from pipeline.plan.plan import print_plan

__all__ = ["print_plan"]
