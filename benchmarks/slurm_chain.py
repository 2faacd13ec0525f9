"""What Slurm costs the demo's chain: `snakemake` here against `snakemake --profile slurm` on a Slurm on this machine.

    python benchmarks/slurm_chain.py [--steps 60]

All nodes are this machine (tests/slurm/loopback_cluster.py), so nothing is computed faster there: the difference is
what submitting, starting and noticing jobs takes. SFT runs on two nodes. Needs slurm-wlm and munge.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from measuring import machine, write_result

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tests/slurm", "tests/end_to_end", "scripts")]


def main() -> None:
    import slurm_demo
    from demo_clone import ARTIFACTS, hashes
    from loopback_cluster import Cluster, why_not

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60, help="steps of each training")
    steps = dict.fromkeys(slurm_demo.STEPS, parser.parse_args().steps)
    if reason := why_not():
        sys.exit(f"no Slurm can be started: {reason}")
    result = {"machine": machine("snakemake", "snakemake-executor-plugin-slurm", "torch"), "steps": steps}
    with tempfile.TemporaryDirectory() as place:
        here = slurm_demo.create(Path(place) / "here" / "heirloom", Path(place), steps)
        started = time.perf_counter()
        here.run("snakemake", "--quiet", "rules")
        result["snakemake"] = {"wall_s": round(time.perf_counter() - started, 1), "stages": stage_seconds(here.folder)}

        there = slurm_demo.create(Path(place) / "there" / "heirloom", Path(place), steps)
        started = time.perf_counter()
        with Cluster() as cluster:
            result["cluster_start_s"] = round(time.perf_counter() - started, 1)
            result["slurm"] = cluster.run("sinfo", "--version").strip()
            started = time.perf_counter()
            workflow = slurm_demo.OnCluster(there, cluster)
            if workflow.end() != 0:
                sys.exit(workflow.story())
            wall = round(time.perf_counter() - started, 1)
        result["snakemake --profile slurm"] = {"wall_s": wall, "stages": stage_seconds(there.folder)}
        same = all(hashes(here.folder / kind) == hashes(there.folder / kind) for kind in ARTIFACTS)
        result["same_bytes"] = same
    write_result("slurm_chain", result)


def stage_seconds(folder: Path) -> dict[str, float]:
    """Return stage → seconds from the launcher's records: the stage alone, without queue and start of its job."""
    files = sorted((folder / ".heirloom" / "records").glob("*.json"))
    return {file.stem: json.loads(file.read_text())["seconds"] for file in files}


if __name__ == "__main__":
    main()
