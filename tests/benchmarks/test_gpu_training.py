"""Without a GPU the GPU benchmark claims nothing."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_gpu_nothing_is_claimed():
    results = sorted((ROOT / "benchmarks" / "results").iterdir())
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_training.py")]
    without = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=without)
    assert done.stdout == "There is no GPU here, so nothing was run and nothing is claimed.\n"
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == results
