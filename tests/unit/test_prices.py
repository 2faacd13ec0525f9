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
from heirloom.estimates.duration import Duration
from heirloom.estimates.prices import Price, Prices, read_prices
from heirloom.estimates.setups import Hosts
from heirloom.report.execution_records import estimate_of
from pipeline.graph import Stage
from pipeline.plan import bills, costs_text, keep_estimates, outcomes
from pipeline.plan.costs import spot_shares
from pipeline.plan.quotation import Quotation, Quote, RunQuote

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


NO_AMOUNTS = (float("nan"), float("inf"), 10**400, -5, True, "3", [3])


def test_what_is_no_amount_is_neither_shown_nor_summed_up(tmp_path: Path):
    whole = {"created": "2026-11-01T01:00:00+00:00", "billable_seconds": 3600, "training_seconds": 3600, "spot": True}
    whole |= {"instance_type": "ml.g5.xlarge", "instance_count": 1, "cost_usd": 1.5}
    tries = [whole | {key: no} for key in ("billable_seconds", "instance_count") for no in (*NO_AMOUNTS, None)]
    (tmp_path / "train-a.json").write_text(json.dumps({"attempts": tries}))
    assert bills(tmp_path, Prices(None, {})) == {"run": {}, "month": {}, "kind": {}}
    tries = [whole | {"cost_usd": no} for no in (*NO_AMOUNTS, None)]
    tries += [whole | {"training_seconds": no} for no in (*NO_AMOUNTS, None)]
    (tmp_path / "train-a.json").write_text(json.dumps({"attempts": tries}))
    bill = bills(tmp_path, Prices(None, {}))["month"]["2026-11"]
    assert (bill.hours, bill.dollars, bill.unpriced, bill.attempts) == (16.0, 12.0, 8, 16)
    assert spot_shares(tmp_path) == {"ml.g5.xlarge": (1.0, 8)}
    kept = tmp_path / "estimates"
    kept.mkdir()
    seconds = {"low": 1, "expected": 2, "high": 3}
    estimate = {"quoted": "2026-11-01T00:30:00Z", "seconds": seconds, "count": 1, "usd": 3.0}
    (kept / "train-a.json").write_text(json.dumps(estimate))
    assert len(outcomes(tmp_path, Prices(None, {}), kept)) == 1
    wrong = [estimate | {"seconds": seconds | {"expected": no}} for no in NO_AMOUNTS]
    wrong += [estimate | {"count": no} for no in (*NO_AMOUNTS, 0)] + [estimate | {"usd": no} for no in NO_AMOUNTS]
    for each in wrong:
        (kept / "train-a.json").write_text(json.dumps(each))
        assert outcomes(tmp_path, Prices(None, {}), kept) == [], each


def test_nothing_in_a_record_acts_on_the_terminal_or_ends_a_line(tmp_path: Path):
    whole = {"billable_seconds": 3600, "instance_type": "ml.g5.xlarge", "instance_count": 1, "cost_usd": 1.5}
    odd = ["\x1b[31mRED", "2026\nX", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00", 3, None, ["2026-11"]]
    tries = [whole | {"created": created} for created in (*odd, "2026-11-01T01:00:00+02:00")]
    name = "train-\x1b[2Ja\nmonth 2026-11 \udcff"
    (tmp_path / f"{name}.json").write_text(json.dumps({"attempts": tries}))
    kept = tmp_path / "estimates"
    kept.mkdir()
    seconds = {"low": 1, "expected": 2, "high": 3}
    estimate = {"quoted": "2026-10-01T00:30:00Z", "seconds": seconds, "count": 1, "usd": 3.0}
    (kept / f"{name}.json").write_text(json.dumps(estimate))
    found = bills(tmp_path, Prices(None, {}), kept)
    assert {month: bill.attempts for month, bill in found["month"].items()} == {"unknown": 7, "2026-10": 1}  # in UTC
    lines = costs_text(found, outcomes(tmp_path, Prices(None, {}), kept)).split("\n")
    assert len(lines) == 5 and all(line.isprintable() for line in lines)
    assert r"run    \x1b[2Ja month 2026-11 \xdcff  " in lines[0], lines


def quoted(name: str, seconds: float | None) -> Quotation:
    """Return a plan of one training."""
    duration = None if seconds is None else Duration(seconds / 2, seconds, seconds * 2, "")
    quote = Quote(Stage("train", name, "", {}, "", (), {}, (), ()), Hosts("ml.g5.xlarge", 2, 2), [], duration=duration)
    quote.dollars = 3.0
    return Quotation([RunQuote(name, "", "", [quote])], 0, 0, 0.0, 0)


def test_estimates_are_kept_whole_and_stop_no_submission(tmp_path: Path, capsys: pytest.CaptureFixture):
    kept = tmp_path / "estimates"
    keep_estimates(quoted("a", 60), kept)
    assert estimate_of("train-a", kept)["seconds"] == {"low": 30, "expected": 60, "high": 120}
    assert [file.name for file in kept.iterdir()] == ["train-a.json"]
    (kept / ".train-a.json.partial").mkdir()  # whoever runs this, it cannot be written to
    keep_estimates(quoted("a", 90), kept)
    assert estimate_of("train-a", kept)["seconds"]["expected"] == 60
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {kept} cannot be written (Is a directory): ") and said.count("\n") == 1
    keep_estimates(quoted("a", None), kept)
    assert estimate_of("train-a", kept) is None
    (tmp_path / "file").touch()
    keep_estimates(quoted("a", 60), tmp_path / "file/estimates")
    assert "cannot be written (Not a directory)" in capsys.readouterr().err
