"""Do runs of one sweep's file cost more than as many files of runs, and 2,000 more a run than 200?

    python benchmarks/sweep_scale.py [--runs 200 2000] [--executions 3] [--output FILE]

The repositories are those of plan_scale.py, everything up to date, but all runs share one dataset. Of both forms: the
ledger alone (`workflow/pipeline plan`) where nothing and where all is to do, and, `anew`, the first of them after
config/ was changed: with nothing remembered of its files.
"""

import os
import sys
import tempfile
from pathlib import Path

from measuring import command_line, cost_of, least, machine, summary, write_result
from plan_scale import DATASET, RUN, make_repository


def one_sweep(config: Path, runs: int) -> None:
    """Write the file of one sweep, and of the run that it starts from."""
    (config / "datasets/dataset-0.yaml").write_text(DATASET)
    (config / "runs/run.yaml").write_text("enabled: false" + RUN.replace("NUMBER", "0"))
    (config / "sweeps/run.yaml").write_text(f"run: run\nseeds: {[*range(runs)]}\n")


def a_file_each(config: Path, runs: int) -> None:
    """Write the files of the same runs by hand, so to say."""
    (config / "datasets/dataset-0.yaml").write_text(DATASET)
    for number in range(runs):
        text = RUN.replace("dataset-NUMBER", "dataset-0").replace("NUMBER", str(number))
        (config / f"runs/run-seed{number}.yaml").write_text(text)


FORMS = {"one sweep": one_sweep, "a file each": a_file_each}


def main() -> None:
    parser = command_line(__doc__, "sweep_scale")
    parser.add_argument("--runs", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--executions", type=int, default=3)
    arguments = parser.parse_args()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    plan = [sys.executable, "workflow/pipeline", "plan"]
    result: dict = {"machine": machine("snakemake", "dvc")}
    for runs in arguments.runs:
        rows: dict = {}
        for form, write_runs in FORMS.items():
            with tempfile.TemporaryDirectory() as folder:
                repository = make_repository(Path(folder) / "repository", runs, environment, write_runs)
                where = (repository, environment)
                (repository / ".heirloom/cache/config.json").unlink()
                rows[f"{form}, anew"] = summary([cost_of(plan, *where)], min)
                rows[f"{form}, nothing to do"] = least([cost_of(plan, *where) for _ in range(arguments.executions)])
                (repository / "dvc.lock").unlink()
                cost_of(plan, *where)
                rows[f"{form}, everything to do"] = least(
                    [cost_of([*plan, "--stages"], *where) for _ in range(arguments.executions)]
                )
        for row in rows.values():
            row["cpu_ms_a_run"] = round(1000 * row["cpu_s"] / runs, 2)
        result[f"{runs} runs"] = rows
        for name, row in rows.items():
            print(f"{runs:5} runs  {name:30} {row['cpu_s']:8.2f} s CPU {row['cpu_ms_a_run']:8.2f} ms CPU a run")
    write_result(arguments.output, result)


if __name__ == "__main__":
    main()
