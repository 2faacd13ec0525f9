"""The fuzzers (fuzz_*.py), a few seconds each from fixed seeds; by hand they go on for as long as one likes."""

import random

import fuzz_datasets
import fuzz_results
import fuzz_wire
import pytest
from fuzzing import go_on, mutated

SEED = 20261128
WIRE = {"launcher": 400, "container": 400, "words": 60}
RESULTS = {"result": 300, "marker": 200, "history": 200, "record": 200, "costs": 300, "throughput": 200}
DATASETS = {"text": 600, "packed": 200, "binary": 200}


@pytest.mark.parametrize("name", WIRE)
def test_nobody_between_hosts_is_believed(name: str) -> None:
    assert go_on(fuzz_wire.ATTACKS[name], SEED, WIRE[name]) == WIRE[name]


@pytest.mark.parametrize("name", DATASETS)
def test_no_file_of_rows_ends_in_a_trace(name: str) -> None:
    assert go_on(fuzz_datasets.ATTACKS[name], SEED, DATASETS[name]) == DATASETS[name]


@pytest.mark.parametrize("name", RESULTS)
def test_what_jobs_return_is_taken_whole_or_not_at_all(name: str) -> None:
    assert go_on(fuzz_results.ATTACKS[name], SEED, RESULTS[name]) == RESULTS[name]


def test_a_fuzzer_finds_a_fault_and_names_its_seed() -> None:
    def careless(chance: random.Random) -> None:
        assert b"\xff" not in mutated(b'{"a": 1}', chance)

    with pytest.raises(AssertionError, match="seed 1, execution [0-9]+: AssertionError"):
        go_on(careless, 1, 1000)
