"""What every benchmark shares: CPU and wall seconds and peak memory of a command, and a result file."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass
class Cost:
    """What one execution of a command took. CPU seconds are user and system, of it and all its children."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def cost_of(command: list[str], cwd: Path, env: dict[str, str] | None = None, expect: int = 0) -> Cost:
    """Run a command once and return its cost. Raises RuntimeError with its output when it ends unexpectedly."""
    started = time.perf_counter()
    with open(os.devnull, "rb") as nothing:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expect:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{output.decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024)


def median(costs: list[Cost]) -> dict[str, float]:
    """Return the medians of several executions."""
    return {
        "cpu_s": round(statistics.median(cost.cpu_s for cost in costs), 2),
        "wall_s": round(statistics.median(cost.wall_s for cost in costs), 2),
        "peak_mb": round(statistics.median(cost.peak_mb for cost in costs)),
        "executions": len(costs),
    }


def machine(*packages: str) -> dict:
    """Return the hardware and the versions that a result was measured with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def write_result(name: str, result: dict) -> None:
    """Write benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to benchmarks/results/{name}.json")
