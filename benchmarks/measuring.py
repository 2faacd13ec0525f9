"""What every benchmark shares: its command line, CPU and wall seconds and peak memory of a command, and a result file.

A result file is a JSON object. `machine` says what the figures depend on: cpu, cores, memory_gb, load_before (the
load average of a minute as the benchmark began), python, and the version of each package that matters. All else are
figures, the unit in the name: _s, _mb, tokens_per_s.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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
    told, tell = os.pipe()
    with open(told, "rb") as cost, open(os.devnull, "rb") as nothing:
        begun = [sys.executable, "-I", "-S", __file__, str(tell), *map(str, command)]
        process = subprocess.Popen(
            begun, cwd=cwd, env=env, pass_fds=[tell], stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        os.close(tell)
        output, _ = process.communicate()
        code, cpu, wall, peak = json.loads(cost.read() or "[null, 0, 0, 0]")  # nothing where there is no such program
    if code != expect:
        raise RuntimeError(f"{command} ended with {code}:\n{output.decode()}")
    return Cost(cpu, wall, peak)


def run_and_tell(number: int, command: list[str]) -> None:
    """Run a command and write what it took to an open file.

    This module is a program for it, of a small process of its own, since the peak of memory that Linux tells of a
    program counts from what the process held that began it: beside a benchmark that has loaded torch, every command
    would seem to take its 500 MB.
    """
    started = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - started
    took = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024]
    os.write(number, json.dumps(took).encode())


def median(costs: list[Cost]) -> dict[str, float]:
    """Return the medians of several executions."""
    return summary(costs, statistics.median)


def least(costs: list[Cost]) -> dict[str, float]:
    """Return the least of several executions, figure by figure: what other programs on the machine add least to."""
    return summary(costs, min)


def summary(costs: list[Cost], of: Callable[[list[float]], float]) -> dict[str, float]:
    """Return one figure of each kind."""
    return {
        "cpu_s": round(of([cost.cpu_s for cost in costs]), 2),
        "wall_s": round(of([cost.wall_s for cost in costs]), 2),
        "peak_mb": round(of([cost.peak_mb for cost in costs])),
        "executions": len(costs),
    }


def machine(*packages: str) -> dict:
    """Return the hardware and the versions that a result was measured with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def command_line(doc: str, name: str) -> argparse.ArgumentParser:
    """Return a parser that shows a benchmark's docstring and knows --output, which is benchmarks/results/NAME.json."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = RESULTS / f"{name}.json"
    parser.add_argument("--output", type=Path, default=default, help=f"result file (default: results/{default.name})")
    return parser


def write_result(file: Path, result: dict) -> None:
    """Write a result file and say where."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {file}")


if __name__ == "__main__":
    run_and_tell(int(sys.argv[1]), sys.argv[2:])
