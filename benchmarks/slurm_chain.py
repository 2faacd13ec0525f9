"""What Slurm costs the demo's chain: `snakemake` here against `snakemake --profile slurm` on a Slurm on this machine.

    python benchmarks/slurm_chain.py [--steps 60] [--runs demo-sft,demo-dpo] [--until RULE] [--poll 10]
                                     [--output FILE]

All nodes are this machine (tests/slurm/loopback_cluster.py), so nothing is computed faster there: the difference is
what submitting, starting and noticing jobs takes. SFT runs on two nodes. Needs slurm-wlm and munge.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tests/slurm", "tests/end_to_end", "scripts")]


def main() -> None:
    import slurm_demo
    from demo_clone import ARTIFACTS, Demo, hashes
    from loopback_cluster import Cluster, why_not

    parser = command_line(__doc__, "slurm_chain")
    parser.add_argument("--steps", type=int, default=60, help="steps of each training")
    parser.add_argument("--runs", default=",".join(slurm_demo.STEPS), help="these, and what they stand on, a,b")
    parser.add_argument("--until", help="the last rule, as snakemake's --until; all without it")
    parser.add_argument("--poll", type=int, help="seconds between questions for the jobs (default: the profile's)")
    options = parser.parse_args()
    steps = dict.fromkeys(slurm_demo.STEPS, options.steps)
    asked = ["--config", f"runs={options.runs}", *(["--until", options.until] if options.until else [])]
    if reason := why_not():
        sys.exit(f"no Slurm can be started: {reason}")
    result = {"machine": machine("snakemake", "snakemake-executor-plugin-slurm", "torch"), "steps": steps}
    with tempfile.TemporaryDirectory() as place:
        here = slurm_demo.create(Path(place) / "here" / "heirloom", Path(place), steps)
        there = Demo(Path(place) / "there" / "heirloom", Path(place))
        shutil.copytree(here.folder, there.folder, symlinks=True)
        started = time.perf_counter()
        here.run("snakemake", "--quiet", "rules", *asked)
        result["snakemake"] = {"wall_s": round(time.perf_counter() - started, 1), "stages": stage_seconds(here.folder)}

        if options.poll:
            slurm_demo.poll_every(there, options.poll)
        started = time.perf_counter()
        with Cluster() as cluster:
            result["cluster_start_s"] = round(time.perf_counter() - started, 1)
            result["slurm"] = cluster.run("sinfo", "--version").strip()
            started = time.perf_counter()
            workflow = slurm_demo.OnCluster(there, cluster, *asked)
            if workflow.end() != 0:
                sys.exit(workflow.story())
            wall = round(time.perf_counter() - started, 1)
        result["snakemake --profile slurm"] = {"wall_s": wall, "stages": stage_seconds(there.folder)}
        made = [{kind: hashes(demo.folder / kind) for kind in ARTIFACTS} for demo in (here, there)]
        result["same_bytes"] = any(made[0].values()) and made[0] == made[1]
    write_result(options.output, result)


def stage_seconds(folder: Path) -> dict[str, float]:
    """Return stage → seconds from the launcher's records: the stage alone, without queue and start of its job."""
    files = sorted((folder / ".heirloom" / "records").glob("*.json"))
    return {file.stem: json.loads(file.read_text())["seconds"] for file in files}


if __name__ == "__main__":
    main()
