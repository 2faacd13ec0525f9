"""The GPU benchmark where there is no GPU: it claims nothing, its programs run, and no case stops another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm_start import warm_stages

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "gpu_training.py"
RESULT = ROOT / "benchmarks" / "results" / "gpu_training.json"
sys.path.append(str(PROGRAM.parent))

from gpu_training import Case, Clock, Place, claims  # noqa: E402


@pytest.fixture
def result():
    """What the result file holds before and after a test: a result that was measured on a GPU stays as it is."""

    def content() -> bytes | None:
        return RESULT.read_bytes() if RESULT.is_file() else None

    before = content()
    yield
    assert content() == before


def benchmark(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [str(warm_stages() / "python"), str(PROGRAM), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_without_a_gpu_it_says_so_and_claims_nothing(result):
    done = benchmark()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "There is no GPU here, so nothing was run and nothing is claimed.\n"


def test_rehearsal_runs_a_case_of_each_program_and_measures_nothing(result):
    cases = ["sft-nf4-zero3", "lora-ours-sdpa", "dpo-upstream"]
    done = benchmark("--rehearse", "--only", ",".join(cases))
    assert done.returncode == 0, done.stdout
    *told, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in told] == [[case, "passed"] for case in cases]
    assert "nothing was measured" in last and "tokens/s" not in done.stdout


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path, gpu={})


def case(program: str, **facts) -> Case:
    return Case("case", [sys.executable, "-c", program], **{"limit": 60, **facts})


def test_a_case_that_fails_is_recorded_with_its_last_lines(place):
    outcome = place.run(case("print('before'); raise ValueError('bad kernel')"), Clock(60))
    assert (outcome["outcome"], outcome["reason"]) == ("failed", "ended with 1")
    assert outcome["last_lines"][-1] == "ValueError: bad kernel"


def test_a_case_that_hangs_ends_at_its_limit(place):
    outcome = place.run(case("import time; time.sleep(600)", limit=1), Clock(60))
    assert outcome["outcome"] == "failed" and outcome["reason"].startswith("took longer than")


def test_a_case_is_not_run_without_time_or_without_its_package(place):
    spent, missing = place.run(case(""), Clock(3)), place.run(case("", package="liger-kernel"), Clock(60))
    assert spent == {"outcome": "not run", "reason": "the budget of time is spent"}
    assert missing == {"outcome": "not run", "reason": "liger-kernel is not installed"}


def test_out_of_memory_is_tried_again_with_less(place):
    outcome = place.run(case("raise MemoryError('CUDA out of memory')", lighter=case("")), Clock(60))
    assert outcome["outcome"] == "passed" and "out_of_memory_before" in outcome


def test_a_program_that_wrote_no_figures_did_not_pass(place):
    assert place.run(case("", result="absent.json"), Clock(60))["outcome"] == "failed"


def test_a_gpu_with_less_memory_gets_fewer_rows_and_at_last_recomputation(tmp_path):
    measured = Place(tmp_path, gpu={"memory_gib": 139.0, "versions": {}}).ours("dpo", "sdpa")
    tried = []
    while measured:
        tried.append(measured.result)
        measured = measured.lighter
    rows = ["dpo-ours-sdpa-4.json", "dpo-ours-sdpa-2.json", "dpo-ours-sdpa-1.json", "dpo-ours-sdpa-1-recomputed.json"]
    assert tried == rows


def test_only_what_was_measured_is_claimed():
    failed = {"outcome": "failed"}
    assert claims({"lora-ours-sdpa": failed})["lora_tokens_per_s"] == {
        "target": 12_500,
        "measured": None,
        "reached": None,
    }
    measured = {
        "dpo-ours-sdpa": {"tokens_per_s": 1200},
        "dpo-upstream": {"tokens_per_s": 1000},
        "lora-upstream": failed,
    }
    found = claims(measured)
    assert (found["dpo_times_upstream"]["measured"], found["dpo_times_upstream"]["reached"]) == (1.2, False)
    assert found["lora_times_upstream"] == {"measured": None}
