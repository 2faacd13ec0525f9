"""What does it cost to find out that there is nothing to do, with 10, 100 and 1000 runs of four stages each?

    python benchmarks/plan_scale.py [--runs 10 100 1000] [--executions 3] [--output FILE]

Makes a repository in which everything is up to date (the artifacts, the cache and dvc.lock are written directly, no
stage is executed) and times `snakemake -n`, the ledger alone (`workflow/pipeline plan`), `dvc status` and
`dvc repro`. Then the plan without dvc.lock, so that everything is to be made: with its table of estimates and, a line
a stage (`plan --stages`), without. Each DVC command at 1000 runs takes minutes, so from there on DVC is run once.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measuring import command_line, cost_of, machine, median, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from working_tree import copy_working_tree

OWN_FOLDERS = tuple(f"config/{name}" for name in ("runs", "sweeps", "datasets", "models", "demo", "examples"))
OF_ITS_OWN = (*OWN_FOLDERS, "dvc.", ".dvc/history", "tests")
"""What the made repository has of its own, or does not need."""

MODEL = """
tokenizer: {train_on: text, vocab_size: 300}
init: {model_type: llama, hidden_size: 8, seed: 0}
"""
DATASET = """
tokenizer: tiny
source: {path: config/rows.jsonl}
processing: {processing_function: dummy_processing_function, max_length: 16}
"""
TEXT = DATASET.replace("dummy_processing_function", "plain_text_processing_function")
RUN = """
base: tiny
dataset: dataset-NUMBER
trainer: sft
deepspeed: zero2
training: {learning_rate: 1e-5, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1, seed: NUMBER}
generation: {max_new_tokens: 16}
evaluation: {metrics: [exact_match]}
"""

FILL = """
import hashlib, json, sys
from pathlib import Path
sys.path[:0] = ["workflow", "scripts"]
from pipeline.folder_objects import object_path
from pipeline.graph import dvcfile, load_graph
from pipeline.ledger import Fingerprints, bytes_hash, config_sections, expected_entry, guards_in_step
from pipeline.ledger.lockfile import format_block, write_blocks

graph = load_graph()[1]
dvcfile.write(graph)
cache, recorded, blocks = Path(".dvc/cache/files/md5"), {}, {}
sections, fingerprints = config_sections(), Fingerprints()

def store(data):
    value = hashlib.md5(data).hexdigest()
    object_path(value, cache).parent.mkdir(parents=True, exist_ok=True)
    object_path(value, cache).write_bytes(data)
    return value

for name, stage in graph.stages.items():
    entry = expected_entry(stage, lambda path: recorded.get(path) or fingerprints.of(path), sections, {})
    for out in entry["outs"]:
        path, data = Path(out["path"]), f"{name}\\n".encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".json", ".csv"):
            path.write_bytes(data)
            store(data)
            out |= {"hash": "md5", "md5": bytes_hash(str(path)), "size": len(data)}
        else:
            path.mkdir()
            (path / "content").write_bytes(data)
            rows = [{"md5": store(data), "relpath": "content"}]
            value = bytes_hash(str(path))
            listing = object_path(value, cache)
            listing.parent.mkdir(parents=True, exist_ok=True)
            listing.write_text(json.dumps(rows))
            out |= {"hash": "md5", "md5": value, "size": len(data), "nfiles": 1}
        recorded[out["path"]] = out["md5"]
    blocks[name] = format_block(name, entry)
blocks |= {name: format_block(name, entry) for name, entry in guards_in_step(graph, {}).items()}
write_blocks(blocks, Path("dvc.lock"))
print(len(graph.stages), "stages")
"""


def main() -> None:
    parser = command_line(__doc__, "plan_scale")
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--executions", type=int, default=3)
    parser.add_argument("--without-dvc", action="store_true", help="time our side alone; writes no result")
    arguments = parser.parse_args()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    result = {"machine": machine("snakemake", "dvc"), "nothing to do": {}, "everything to do": {}}
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as folder:
            repository = make_repository(Path(folder) / "repository", runs, environment)
            rows = {
                "snakemake -n": measure(["snakemake", "-n"], repository, environment, arguments.executions),
                "ledger alone": measure(
                    [sys.executable, "workflow/pipeline", "plan"], repository, environment, arguments.executions
                ),
            }
            (repository / "dvc.lock").rename(repository / "dvc.lock.aside")
            plan = [sys.executable, "workflow/pipeline", "plan"]
            to_do = {
                "without estimates": measure([*plan, "--stages"], repository, environment, arguments.executions),
                "with estimates": measure(plan, repository, environment, arguments.executions),
            }
            (repository / "dvc.lock.aside").rename(repository / "dvc.lock")
            result["everything to do"][f"{runs} runs"] = to_do
            if not arguments.without_dvc:
                executions = arguments.executions if runs < 1000 else 1
                rows["dvc status"] = measure(["dvc", "status"], repository, environment, executions)
                rows["dvc repro"] = measure(["dvc", "repro"], repository, environment, executions)
        result["nothing to do"][f"{runs} runs"] = rows
        for name, row in {**rows, **to_do}.items():
            figures = f"{row['cpu_s']:8.2f} s CPU {row['wall_s']:8.2f} s wall {row['peak_mb']:6} MB"
            print(f"{runs:5} runs  {name:18} {figures}")
    if not arguments.without_dvc:
        write_result(arguments.output, result)


def a_file_each(config: Path, runs: int) -> None:
    """Write files of so many runs, each with a dataset of its own."""
    for number in range(runs):
        (config / f"datasets/dataset-{number}.yaml").write_text(DATASET)
        (config / f"runs/run-{number}.yaml").write_text(RUN.replace("NUMBER", str(number)))


def make_repository(
    folder: Path, runs: int, environment: dict[str, str], write_runs: Callable[[Path, int], None] = a_file_each
) -> Path:
    """Return a copy of this repository with `runs` runs, in which everything is up to date.

    `write_runs` writes their files to config/. Raises RuntimeError when the ledger finds that something is to do after
    all: what was timed would mean nothing.
    """
    copy_working_tree(folder, lambda name: not name.startswith(OF_ITS_OWN))
    for kind in ("models", "datasets", "runs", "sweeps"):
        (folder / "config" / kind).mkdir(parents=True, exist_ok=True)
    (folder / "config/rows.jsonl").write_text('{"messages": []}\n')
    (folder / "config/models/tiny.yaml").write_text(MODEL)
    (folder / "config/datasets/text.yaml").write_text(TEXT)
    write_runs(folder / "config", runs)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-c", FILL], cwd=folder, env=environment, check=True)
    plan = subprocess.run(
        [sys.executable, "workflow/pipeline", "plan"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    if not plan.splitlines()[-1].startswith("0 to run, 0 after them, 0 to restore"):
        raise RuntimeError(f"not everything is up to date in the made repository:\n{plan}")
    return folder


def measure(command: list[str], folder: Path, environment: dict[str, str], executions: int) -> dict:
    """Return the medians of a command; a first execution, which fills what is remembered, is not counted."""
    cost_of(command, folder, environment)
    return median([cost_of(command, folder, environment) for _ in range(executions)])


if __name__ == "__main__":
    main()
