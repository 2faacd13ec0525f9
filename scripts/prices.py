"""Read what SageMaker's training instances cost from AWS's price list, and write it to config/prices.yaml.

    python scripts/prices.py REGION        # or `make prices REGION=eu-west-1`

In: AWS's credentials, with the permission pricing:GetProducts. Out: the prices of one region in config/prices.yaml,
each with the page and the day; other regions stay. The list is asked for at us-east-1, where AWS serves it for all
regions (https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html).
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import argparse
import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from heirloom.errors import HeirloomError
from heirloom.estimates.prices import FILE, OTHERS, read_prices
from heirloom.failures import ends_in_one_sentence

ENDPOINT_REGION = "us-east-1"
PAGE = "https://api.pricing.us-east-1.amazonaws.com/"
TRAINING = re.compile(r"(?:[A-Z0-9]+-)?Train:(ml\.[\w.-]+)")
"""A product's usagetype: USE1-Train:ml.p3.2xlarge."""
HEAD = "# USD an hour on demand, written by `make prices`. What was not seen is not here. docs/plan.md\n"


def main() -> None:
    """Fetch, look at what came, write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("region", help="whose prices, for example eu-west-1")
    region = arguments.parse_args().region
    with ends_in_one_sentence():
        found = dict(training_prices(products(region)))
        if not found:
            raise HeirloomError(f"AWS's list has no price of a training instance in {region}: is that a region?")
        write(FILE, region, found, datetime.datetime.now(datetime.UTC).date())
    print(f"{FILE}: {len(found)} prices of {region}")


def products(region: str) -> Iterator[dict[str, Any]]:
    """Yield the products of SageMaker in a region. Raises HeirloomError when AWS cannot be asked."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    pages = boto3.client("pricing", region_name=ENDPOINT_REGION).get_paginator("get_products")
    wanted = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    try:
        for page in pages.paginate(ServiceCode="AmazonSageMaker", Filters=wanted):
            yield from map(json.loads, page["PriceList"])
    except (BotoCoreError, ClientError) as error:
        raise HeirloomError(f"AWS's price list cannot be read: {' '.join(str(error).split())}") from error


def training_prices(found: Iterator[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield (instance type, USD an hour) of the products that are instances of training jobs, on demand."""
    for product in found:
        named = TRAINING.fullmatch(product["product"]["attributes"].get("usagetype", ""))
        terms = product.get("terms", {}).get("OnDemand", {}).values()
        amounts = [each for term in terms for each in term["priceDimensions"].values() if each["unit"] == "Hrs"]
        dollars = [float(each["pricePerUnit"]["USD"]) for each in amounts if "USD" in each["pricePerUnit"]]
        if named and any(dollars):
            yield named[1], max(dollars)


def write(file: Path, region: str, found: dict[str, float], today: datetime.date) -> None:
    """Put a region's prices into the file, in place of those that it has."""
    read_prices(file=file)  # what is there must be right before it is written again
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    content = yaml.load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows = {name: {"usd_per_hour": price, "page": PAGE, "read": today} for name, price in sorted(found.items())}
    known = (content or {}).get(region) or {}
    rows |= {name: known[name] for name in OTHERS if name in known}  # written by hand: AWS lists them elsewhere, or not
    content = {**(content or {}), region: rows}
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        out.write(HEAD)
        yaml.dump(dict(sorted(content.items())), out)
    partial.replace(file)


if __name__ == "__main__":
    main()
