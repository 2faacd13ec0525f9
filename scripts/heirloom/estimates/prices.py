"""What machines cost: config/prices.yaml, whose every price names the page and the day that it was read from.

A price that nobody has seen is not there, and is told as unknown. `make prices` reads AWS's own list.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from heirloom.config.parsing.reading import read_yaml
from heirloom.config.parsing.section import Section
from heirloom.errors import HeirloomError

FILE = Path("config/prices.yaml")
STORAGE, SPOT = "s3", "spot"


class Seen(Section):
    """What every price says of itself."""

    page: str = Field(pattern=r"^https://\S+$", description="where it was read")
    read: datetime.date = Field(description="the day, YYYY-MM-DD")


class Price(Seen):
    """One price on demand."""

    usd_per_hour: float = Field(gt=0, allow_inf_nan=False, description="of one instance, US dollars")


class StoragePrice(Seen):
    """The price of keeping data on S3, under the key `s3` of a region."""

    usd_per_gb_month: float = Field(gt=0, allow_inf_nan=False, description="of 2^30 bytes, US dollars")


class SpotShare(Seen):
    """What spot capacity takes of the price on demand, under the key `spot` of a region: SageMaker publishes none."""

    share_of_on_demand: float = Field(gt=0, le=1, description="0.4: 40 % of the price on demand")


EXAMPLES = {
    Price: "usd_per_hour: 1.41",
    StoragePrice: "usd_per_gb_month: 0.02",
    SpotShare: "share_of_on_demand: 0.4",
}
OTHERS = {STORAGE: StoragePrice, SPOT: SpotShare}
"""Keys of a region that are no instance types."""


@dataclass(frozen=True)
class Spot:
    """An estimate of what spot capacity takes, in US dollars, and where its share of the price comes from."""

    dollars: float
    source: str


@dataclass(frozen=True)
class Prices:
    """Instance type → its price, of one region."""

    region: str | None
    of_types: dict[str, Price]
    storage: StoragePrice | None = None
    spot: SpotShare | None = None

    def spot_of(self, dollars: float | None, own: tuple[float, int] | None) -> Spot | None:
        """Return what spot capacity takes in place of so many dollars on demand; None where no share is known.

        `own`: the share that this clone's own jobs on such instances were billed, and of how many attempts it is.
        """
        if dollars is None or (own is None and self.spot is None):
            return None
        if own is not None:
            return Spot(dollars * own[0], f"{own[0]:.0%}, as {own[1]} own attempts were billed")
        share = self.spot.share_of_on_demand
        return Spot(dollars * share, f"{share:.0%}, stated in {FILE}")

    def dollars(self, instance_type: str, count: int, seconds: float) -> float | None:
        """Return the US dollars of so many instances for so long, on demand; None where the price is not known."""
        price = self.of_types.get(instance_type)
        return None if price is None else price.usd_per_hour * count * seconds / 3600


def read_prices(region: str | None = None, file: Path = FILE) -> Prices:
    """Return the prices of a region; without one, of the only region that the file has.

    Raises HeirloomError for a file of another form, with the region, the type and the key that is wrong.
    """
    if not file.is_file():
        return Prices(region, {})
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise HeirloomError(f"{file}: expected regions, as `eu-west-1:`; found {type(content).__name__}")
    tables = {name: dict(prices_in(file, name, table)) for name, table in content.items()}
    if region is None and len(tables) == 1:
        region = next(iter(tables))
    found = tables.get(region or "", {})
    types = {name: price for name, price in found.items() if isinstance(price, Price)}
    return Prices(region, types, found.get(STORAGE), found.get(SPOT))


def prices_in(file: Path, region: Any, table: Any) -> Iterator[tuple[str, Price | StoragePrice | SpotShare]]:
    """Yield the prices of a region. Raises HeirloomError for the first that is none."""
    if not isinstance(table, dict):
        raise HeirloomError(f"{file}: {region}: expected instance types, as `ml.g5.xlarge:`; found {table!r}")
    for name, value in table.items():
        kind = OTHERS.get(name, Price)
        try:
            yield str(name), kind.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the price"
            raise HeirloomError(
                f"{file}: {region}: {name}: {key}: {first['msg'].lower()}; expected {{{EXAMPLES[kind]}, "
                "page: https://…, read: 2026-11-29}"
            ) from None
