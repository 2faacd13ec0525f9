"""Main memory, disk and bytes to move: what machines have, what a training takes of it and writes."""

import gzip
import json
from dataclasses import replace
from importlib.resources import files

import pytest

from heirloom.config.arguments.instance_types import INSTANCES
from heirloom.estimates.deepspeed_settings import DeepSpeedSettings, settings_of
from heirloom.estimates.host_memory import CUDA, IMPORTED, ONE_FILE, SIZES, HostMemory, machine_memory, training_host
from heirloom.estimates.model_shape import model_shape
from heirloom.estimates.overheads import GIB
from heirloom.estimates.stored_bytes import resuming_state, saved_rows, saves
from heirloom.estimates.training_memory import TrainingSetup, training_memory

SHAPE = model_shape({"model_type": "llama", "num_key_value_heads": 8, "num_hidden_layers": 4})
PLAIN = TrainingSetup(SHAPE, DeepSpeedSettings(), ranks=2, tokens=512, d=2)


def test_machines_have_the_memory_that_ec2_describes():
    described = json.loads(gzip.decompress(files("moto").joinpath("ec2/resources/instance_types.json.gz").read_bytes()))
    theirs = {name: described[name]["MemoryInfo"]["SizeInMiB"] / 1024 for name in INSTANCES if name in described}
    ours = {f"{family}.{size}xlarge": memory for family, of in SIZES.items() for size, memory in of.items()}
    assert ours == theirs
    assert {name: machine_memory(f"ml.{name}") for name in INSTANCES if name not in theirs} == dict.fromkeys(
        ["p2.xlarge", "p2.8xlarge", "p2.16xlarge", "p3.2xlarge", "p3.8xlarge", "p3.16xlarge"]
    )
    assert machine_memory("ml.g5.xlarge") == 16 * GIB and machine_memory("ml.g5.metal") is None
    assert machine_memory("node with 8 × GPU", mem_mb=2048) == 2 * GIB and machine_memory("here") is None
    assert str(HostMemory(1.5 * GIB, 16 * GIB)) == "1.5 of 16 GiB" and str(HostMemory(GIB)) == "1.0 GiB"


def test_main_memory_has_processes_what_is_offloaded_and_weights_that_pass_through():
    weights = SHAPE.parameters
    process = IMPORTED + CUDA
    offload = {"offload_optimizer": {"device": "cpu"}}

    def host(zero: dict | None, gpus: bool = True, **changed) -> float:
        settings = settings_of({"zero_optimization": zero}, 64) if zero else DeepSpeedSettings()
        merges = changed.pop("merges", False)
        return training_host(replace(PLAIN, settings=settings, **changed), 2, gpus, saved=4, merges=merges)

    assert host(None) == 2 * process
    assert host({"stage": 2}) == 2 * process + 2 * weights  # the trained model is gathered in 16 bits
    assert host({"stage": 3}) == 2 * process + 4 * weights  # the base is read in 32 bits
    # of two ranks each keeps half: weights, two moments, gradients, 4 bytes each
    assert host({"stage": 2, **offload}) == pytest.approx(2 * (process + 16 * weights / 2) + 2 * weights)
    assert host({"stage": 2}, adapter=1000) == 2 * process
    assert host({"stage": 2}, adapter=1000, merges=True) == 2 * process + ONE_FILE
    assert host(None, gpus=False) == 2 * (IMPORTED + training_memory(PLAIN).total)


def test_checkpoints_for_resuming_are_counted_as_transformers_writes_them():
    assert [saves(steps, 100) for steps in (1, 100, 101)] == [1, 1, 2]
    assert resuming_state(PLAIN) == 6 * SHAPE.parameters  # without DeepSpeed: weights and two moments
    assert resuming_state(replace(PLAIN, adapter=10)) == 60
    assert saved_rows(1000, "chat") == 2 * saved_rows(1000, "text") == 8000
