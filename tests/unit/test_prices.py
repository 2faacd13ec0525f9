"""`make prices` against a server that answers as AWS's price list does, and what is said of a wrong file."""

import datetime
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from heirloom.estimates.prices import Price, Prices, read_prices
from pipeline.plan import bills, costs_text, outcomes

PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / "prices.py"
BY_HAND = """us-east-1:
  ml.p4d.24xlarge: {usd_per_hour: 30.5, page: "https://example.org/prices", read: 2026-11-28}
eu-west-1:
  s3: {usd_per_gb_month: 0.25, page: "https://example.org/s3", read: 2026-11-28}
  spot: {share_of_on_demand: 0.5, page: "https://example.org/spot", read: 2026-11-28}
"""


def product(usage: str, dollars: str, unit: str = "Hrs") -> str:
    """An entry of PriceList: JSON in a text, as the API gives it."""
    dimension = {"unit": unit, "pricePerUnit": {"USD": dollars}, "description": f"${dollars} for {usage}"}
    terms = {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": dimension}, "termAttributes": {}}}}
    attributes = {"usagetype": usage, "regionCode": "eu-west-1", "servicecode": "AmazonSageMaker"}
    return json.dumps({"product": {"productFamily": "ML Instance", "attributes": attributes}, "terms": terms})


PAGES = [
    {"FormatVersion": "aws_v1", "NextToken": "more", "PriceList": [
        product("EU-Train:ml.g5.xlarge", "1.5700000000"), product("EU-Host:ml.g5.xlarge", "1.6100000000"),
        product("EU-Train:ml.free", "0.0000000000"), product("EU-Train:VolumeUsage.gp2", "0.15", "GB-Mo"),
    ]},
    {"FormatVersion": "aws_v1", "PriceList": [product("EU-Train:ml.p4d.24xlarge", "31.2500000000")]},
]  # fmt: skip


class PriceList(BaseHTTPRequestHandler):
    asked: list[dict]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append({"target": self.headers["X-Amz-Target"], **body})
        answer = json.dumps(PAGES["NextToken" in body]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_prices_of_a_region_are_read_with_page_and_day_and_others_stay(tmp_path: Path):
    PriceList.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), PriceList)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "config").mkdir()
    file = tmp_path / "config" / "prices.yaml"
    file.write_text(BY_HAND)
    own = {
        "AWS_ENDPOINT_URL_PRICING": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "HOME": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, str(PROGRAM), "eu-west-1"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "config/prices.yaml: 2 prices of eu-west-1\n"
    assert [ask["target"] for ask in PriceList.asked] == ["AWSPriceListService.GetProducts"] * 2
    assert PriceList.asked[0]["ServiceCode"] == "AmazonSageMaker"
    found = read_prices("eu-west-1", file)
    assert {name: price.usd_per_hour for name, price in found.of_types.items()} == {
        "ml.g5.xlarge": 1.57, "ml.p4d.24xlarge": 31.25,
    }  # fmt: skip
    assert found.dollars("ml.p4d.24xlarge", 2, 7200) == 125
    assert found.dollars("ml.p5.48xlarge", 1, 3600) is None
    assert found.storage.usd_per_gb_month == 0.25  # written by hand, and stays
    assert found.spot.share_of_on_demand == 0.5
    assert read_prices("us-east-1", file).of_types["ml.p4d.24xlarge"].read.isoformat() == "2026-11-28"
    assert read_prices(None, file).of_types == {}  # of two regions none is meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "expected regions, as `eu-west-1:`; found list"),
        ("eu-west-1: 3", "eu-west-1: expected instance types, as `ml.g5.xlarge:`; found 3"),
        ("eu-west-1: {ml.g5.xlarge: 1.41}", "eu-west-1: ml.g5.xlarge: the price: "),
        (
            'eu-west-1: {ml.g5.xlarge: {usd_per_hour: -1.0, page: "https://x", read: 2026-11-29}}',
            "eu-west-1: ml.g5.xlarge: usd_per_hour: input should be greater than 0; expected {usd_per_hour: 1.41, page",
        ),
        ("eu-west-1: {ml.g5.xlarge: {usd_per_hour: 1.0, page: memory, read: 2026-11-29}}", "ml.g5.xlarge: page: "),
        (
            'eu-west-1: {s3: {usd_per_gb_month: 0.0, page: "https://x", read: 2026-11-29}}',
            "s3: usd_per_gb_month: input should be greater than 0; expected {usd_per_gb_month: 0.02, page: https://",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_place(tmp_path: Path, text: str, said: str):
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(HeirloomError) as caught:
        read_prices(None, file)
    assert str(file) in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bills_are_sums_by_run_month_and_kind(tmp_path: Path):
    """Two jobs of one run, the second after a spot reclaim, and what somebody else wrote."""

    def attempt(created: str, seconds: int, dollars: float | None, kind: str = "ml.g5.xlarge", hosts: int = 1) -> dict:
        facts = {"created": created, "billable_seconds": seconds, "cost_usd": dollars}
        return facts | {"instance_type": kind, "instance_count": hosts}

    first = [attempt("2026-10-31T23:00:00+00:00", 1800, 0.75), attempt("2026-11-01T01:00:00+00:00", 3600, 1.5)]
    (tmp_path / "train-a-run.json").write_text(json.dumps({"attempts": first}))
    (tmp_path / "generate-a-run.json").write_text(
        json.dumps({"attempts": [attempt("2026-11-02T01:00:00+00:00", 3600, None, "ml.p4d.24xlarge", 2)]})
    )
    (tmp_path / "evaluate-b.json").write_text('{"attempts": [{"billable_seconds": "much"}, 3]}')
    (tmp_path / "train-c.json").write_text("[" * 100_000)
    price = Price(usd_per_hour=30.0, page="https://example.org", read=datetime.date(2026, 11, 29))
    found = bills(tmp_path, Prices("eu-west-1", {"ml.p4d.24xlarge": price}))
    assert {name: (bill.hours, bill.dollars) for name, bill in found["run"].items()} == {"a-run": (3.5, 62.25)}
    assert {name: bill.dollars for name, bill in found["month"].items()} == {"2026-10": 0.75, "2026-11": 61.5}
    assert {name: bill.hours for name, bill in found["kind"].items()} == {"train": 1.5, "generate": 2.0}
    text = costs_text(bills(tmp_path, Prices(None, {})))
    assert "run    a-run       3.50 h  $2.25, price unknown of 1 of 3" in text.splitlines()
    assert "expected" not in text
    # of the second attempt there is an estimate: two hours, of which it ran one and a half on spot capacity
    second = first[1] | {"training_seconds": 5400}
    (tmp_path / "train-a-run.json").write_text(json.dumps({"attempts": [first[0], second]}))
    seconds = {"low": 3600, "expected": 7200, "high": 9000}
    kept = tmp_path / "estimates"
    kept.mkdir()
    estimate = {"quoted": "2026-11-01T00:30:00Z", "seconds": seconds, "count": 1, "usd": 3.0}
    (kept / "train-a-run.json").write_text(json.dumps(estimate))
    (kept / "evaluate-b.json").write_text(json.dumps(estimate))
    (kept / "generate-a-run.json").write_text('{"quoted": 3}')
    found = bills(tmp_path, Prices(None, {}), kept)
    lines = costs_text(found, outcomes(tmp_path, Prices(None, {}), kept)).splitlines()
    told = "2.00 h expected, 1.50 h taken (-25%)"
    assert f"run    a-run       3.50 h  $2.25, price unknown of 1 of 3; {told}" in lines
    assert (
        f"kind   train          1.50 h  $2.25; {told}" in lines
        and f"$1.50, price unknown of 1 of 2; {told}" in "".join(lines)
    )
    assert lines[-1] == (
        "estimate of train-a-run: 2.00 h expected (1.00 – 2.50), 1.50 h taken (-25%); $3.00 expected, $1.50 billed"
    )
    (kept / "train-a-run.json").write_text(json.dumps(estimate | {"quoted": "2026-11-02T00:00:00Z"}))
    assert outcomes(tmp_path, Prices(None, {}), kept) == []  # submitted, and nothing has ended since
    assert costs_text(bills(tmp_path / "none", Prices(None, {}))) == "no job is recorded in .heirloom/costs/"
