"""What the next plan learns from earlier executions, and that no record makes it fail or grows the history."""

import json
import time

import pytest

from heirloom.estimates.duration import UTILIZATION, from_operations
from heirloom.estimates.model_flops import ModelFlops
from heirloom.records.measured import MEASURED, MOST, NUMBERS, measured_in, measured_of
from pipeline.plan.learned import Execution, Learned
from pipeline.records import add_to_record, measured

GPUS = {"device": "gpu", "nodes": 1, "per_node": 8}


def row(stage: str, seconds: float = 1000.0, **found) -> dict:
    return {"stage": stage, "record": {"seconds": seconds, "ranks": GPUS, "measured": found}}


def test_a_training_takes_its_start_and_end_again_and_its_steps_by_tokens():
    """400 of 1000 s are steps; twice the tokens take 800 s of steps, and the result is sent away in 50 s."""
    last = Execution(1000.0, GPUS, {"training_s": 400.0, "tokens": 5000, "steps": 10, "push_s": 50.0})
    found = last.duration({"tokens": 10_000, "steps": 99}, {"tokens": 1})
    assert found.expected == 1000 - 400 + 800 + 50 and found.low < found.expected < found.high
    # of an older record nothing but the training's own metrics are known
    assert Execution(1000.0, GPUS).duration({"tokens": 10_000}, {"tokens": 5000}).expected == 2000
    assert Execution(1000.0, GPUS).duration({}, {}).expected == 1000
    # a training that went on from a checkpoint measured its own steps alone
    resumed = Execution(100.0, GPUS, {"training_s": 50.0, "steps": 5, "tokens": 0})
    assert resumed.duration({"tokens": None, "steps": 20}, {}).expected == 50 + 200
    assert last.was_on(True, 8) and not last.was_on(True, 16) and not last.was_on(False, 2)


def test_machines_are_known_by_the_jobs_that_ran_on_them():
    many = [
        row("train-a", instance="ml.x", start_s=start, mfu=mfu) for start, mfu in ((300, 0.3), (200, 0.4), (900, 0.5))
    ]
    on_spot = [row("train-b", instance="ml.x", spot=True, billed_s=billed, ran_s=900) for billed in (300, 600)]
    found = Learned([*many, *on_spot, {"stage": "old", "record": {}}, row("generate-a")])
    assert found.start("ml.x") == (200, 300, 900) and found.start("ml.y") is None
    assert found.utilization("ml.x") == ((0.3, 0.4, 0.5), 3) and found.utilization("ml.y") is None
    assert found.spot_share("ml.x") == (0.5, 2) and found.spot_share("ml.y") is None
    assert found.last.keys() == {"train-a", "train-b", "generate-a"}
    flops = ModelFlops(10**9, 10**9, 0, False)
    assumed = from_operations(flops, 1e9, 1024, "A100", 8)
    own = from_operations(flops, 1e9, 1024, "A100", 8, found.utilization("ml.x"))
    assert own.expected == pytest.approx(assumed.expected * UTILIZATION[1] / 0.4)
    assert own.source == "27% to 55% of the GPUs' peak, as 3 own executions had"


def test_a_wait_for_capacity_is_no_money():
    """Three hours from creation to begin, of a job that ran 300 seconds for a program of 100: 200 were billed."""
    found = Learned([row("train-a", 100.0, instance="ml.x", start_s=10_800, ran_s=300)])
    assert found.start("ml.x")[1] == 10_800 and found.wait("ml.x") == 10_600 and found.wait("ml.y") == 0
    assert Learned([row("train-a", 100.0, instance="ml.x", start_s=150, ran_s=300)]).wait("ml.x") == 0


def test_a_record_of_another_form_teaches_nothing_and_none_is_long(tmp_path):
    assert measured_of("text") == measured_of(None) == measured_of({"steps": "3", "mfu": float("nan"), "x": 1}) == {}
    assert measured_of({"steps": -1, "tokens": True, "instance": "a\nb", "spot": 1}) == {}
    for huge in (10**400, 1e308, float("inf")):
        assert measured_of(dict.fromkeys(NUMBERS, huge)) == {}
    assert measured_of({"mfu": 300, "steps": 3.5, "tokens": 5e-324}) == {}
    month = 28 * 86400  # the longest job
    large = {
        "steps": 9_999_999, "tokens": 99_999_999_999_999, "training_s": month + 0.12, "mfu": 0.3456, "gpu_gib": 178.25,
        "process_gib": 1999.123, "fetch_s": 86400.1, "push_s": 86400.1, "count": 64, "start_s": month,
        "billed_s": month, "ran_s": month, "instance": "ml.p6-b200.48xlarge", "spot": True,
    }  # fmt: skip
    assert large.keys() == {*NUMBERS, "instance", "spot"}
    assert measured_of(large) == large and len(json.dumps(large)) <= MOST  # what a job can have at the most
    assert measured_of({"instance": "x" * MOST}) == {}
    (tmp_path / MEASURED).write_text("{")
    assert set(measured_in(tmp_path)) <= {"process_gib"}
    (tmp_path / MEASURED).write_text('{"steps": 3, "command": "no number"}')
    assert measured_in(tmp_path) | {"process_gib": 1} == {"steps": 3, "process_gib": 1}


def test_what_a_job_was_billed_and_how_long_it_took_to_begin_is_measured_of_it_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("records", "costs"):
        (tmp_path / ".heirloom" / folder).mkdir(parents=True)
    record = {"identity": "i", "started": "2026-11-30T10:05:00Z", "measured": {"steps": 3}}
    file = tmp_path / ".heirloom/records/train-a.json"
    file.write_text(json.dumps(record))
    add_to_record("train-a", "another", {"fetch_s": 1.0})
    add_to_record("train-b", "i", {"fetch_s": 1.0})
    assert json.loads(file.read_text()) == record
    add_to_record("train-a", "i", {"fetch_s": 2.0, "push_s": 3.0})
    record = json.loads(file.read_text())
    attempt = {"instance_type": "ml.x", "instance_count": 2, "billable_seconds": 600, "training_seconds": 900}
    job = {"job_key": "i", "attempts": [{}, attempt | {"spot": True, "created": "2026-11-30T12:00:30+02:00"}]}
    costs = tmp_path / ".heirloom/costs/train-a.json"
    costs.write_text(json.dumps(job))
    assert measured("train-a", record) == {
        "steps": 3, "fetch_s": 2.0, "push_s": 3.0, "instance": "ml.x", "count": 2, "billed_s": 600, "ran_s": 900,
        "spot": True, "start_s": 270,
    }  # fmt: skip
    for broken in ({"job_key": "other"}, {"attempts": []}, {"attempts": "x"}, {"attempts": ["x"]}):
        costs.write_text(json.dumps(job | broken))
        assert measured("train-a", record) == {"steps": 3, "fetch_s": 2.0, "push_s": 3.0}
    costs.write_text(json.dumps(job))
    assert "start_s" not in measured("train-a", record | {"started": time.strftime("%Y")})
