"""Time and cost of a job, written to a JSON file.

SageMaker's BillableTimeInSeconds holds the discount of spot capacity already: AWS gives the savings as
1 - BillableTimeInSeconds / TrainingTimeInSeconds. So both costs use the on-demand price:

    cost           = BillableTimeInSeconds × hosts × price / 3600
    on_demand_cost = TrainingTimeInSeconds × hosts × price / 3600
"""

import json
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError


def read_prices(items: list[str] | None) -> dict[str, float]:
    """Return instance type → USD an hour. Raises WorkflowError for an item that is not TYPE=PRICE."""
    prices = {}
    for item in items or ():
        name, _, price = item.partition("=")
        try:
            prices[name] = float(price)
        except ValueError:
            raise WorkflowError(f"sagemaker-prices: {item!r}; expected TYPE=PRICE, as ml.g5.xlarge=1.41") from None
    return prices


def attempt_record(description: dict, prices: dict[str, float]) -> dict:
    """Return the record of one training job that has ended; costs are None where the price is unknown."""
    hardware = description["ResourceConfig"]
    hosts = hardware["InstanceCount"]
    price = prices.get(hardware["InstanceType"])
    seconds = description.get("TrainingTimeInSeconds", 0)
    billable = description.get("BillableTimeInSeconds", 0)
    return {
        "training_job": description["TrainingJobName"],
        "status": description["TrainingJobStatus"],
        "secondary_status": description["SecondaryStatus"],
        "failure_reason": description.get("FailureReason"),
        "instance_type": hardware["InstanceType"],
        "instance_count": hosts,
        "spot": bool(description.get("EnableManagedSpotTraining", False)),
        "created": _time(description.get("CreationTime")),
        "started": _time(description.get("TrainingStartTime")),
        "ended": _time(description.get("TrainingEndTime")),
        "training_seconds": seconds,
        "billable_seconds": billable,
        "usd_per_hour": price,
        "cost_usd": None if price is None else round(billable * hosts * price / 3600, 6),
        "on_demand_cost_usd": None if price is None else round(seconds * hosts * price / 3600, 6),
    }


def _time(value) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds")


def write_record(path: Path, rule: str, key: str, attempts: list[dict]) -> None:
    """Write all ATTEMPTS of a job and their sums; the file appears complete or not at all."""
    costs = [attempt["cost_usd"] for attempt in attempts]
    record = {
        "rule": rule,
        "job_key": key,
        "billable_seconds": sum(attempt["billable_seconds"] for attempt in attempts),
        "billable_host_seconds": sum(attempt["billable_seconds"] * attempt["instance_count"] for attempt in attempts),
        "cost_usd": None if None in costs else round(sum(costs), 6),
        "attempts": attempts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
