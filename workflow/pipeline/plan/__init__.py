"""What would run, why, and what it takes, for people. Nothing here decides or changes anything."""

from pipeline.plan.budgets import Budgets, refusals
from pipeline.plan.costs import Bill, bills, costs_text
from pipeline.plan.hourly import dollars_an_hour
from pipeline.plan.plan import print_plan
from pipeline.plan.quotation import Cluster, quotation
from pipeline.plan.table import as_json, print_quotation

__all__ = [
    "Bill",
    "Budgets",
    "Cluster",
    "as_json",
    "bills",
    "costs_text",
    "dollars_an_hour",
    "print_plan",
    "print_quotation",
    "quotation",
    "refusals",
]
