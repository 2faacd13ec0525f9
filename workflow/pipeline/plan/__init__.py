"""What would run, why, and what it takes, for people. Nothing here decides or changes anything."""

from pipeline.plan.costs import bills, costs_text
from pipeline.plan.plan import print_plan
from pipeline.plan.quotation import quotation
from pipeline.plan.table import as_json, print_quotation, refusals

__all__ = ["as_json", "bills", "costs_text", "print_plan", "print_quotation", "quotation", "refusals"]
