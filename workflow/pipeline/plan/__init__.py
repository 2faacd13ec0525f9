"""What would run, why, and what it takes, for people. Nothing here decides or changes anything."""

from pipeline.plan.budgets import Budgets, refusals
from pipeline.plan.comparison import compare
from pipeline.plan.costs import Bill, bills, costs_text, outcomes
from pipeline.plan.hourly import dollars_an_hour
from pipeline.plan.kept import keep_estimates
from pipeline.plan.plan import print_plan
from pipeline.plan.quotation import Cluster, quotation
from pipeline.plan.table import as_json, print_quotation

__all__ = [
    "Bill",
    "Budgets",
    "Cluster",
    "as_json",
    "bills",
    "compare",
    "costs_text",
    "dollars_an_hour",
    "keep_estimates",
    "outcomes",
    "print_plan",
    "print_quotation",
    "quotation",
    "refusals",
]
