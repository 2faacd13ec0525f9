"""What packing costs where a training does it as it starts, and where a stage has done it before.

    python benchmarks/packed_rows.py [--rows 200000] [--strategy bfd] [--executions 3] [--output FILE]

Chats of 16 to 240 tokens become rows of 2,048. `at_start`: one step of SFT that packs all rows first, as each rank of a
job does while its GPUs wait; `packed`: the same step on the rows of `stage`, scripts/pack_dataset.py, which runs once,
on no GPU, for all trainings that take the rows so. Whole programs on one rank, start-up included: what is saved is the
difference of `at_start` and `packed`. Medians of several executions, the ways in turn; both trainings have to make the
same weights.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import training_peers
from measuring import Cost, command_line, cost_of, machine, median, write_result
from reference_scores import environment

ROOT = Path(__file__).resolve().parent.parent
SHORTEST, LONGEST, SEQ_LENGTH = 16, 240, 2048
"""Tokens of the shortest and longest chats, and of a packed row."""


def main() -> None:
    args = parse_arguments()
    result = {"machine": machine("torch", "transformers", "trl", "pyarrow")}
    result |= {"rows": args.rows, "strategy": args.strategy, "seq_length": SEQ_LENGTH}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder, args.rows, args.strategy)
        costs: dict[str, list[Cost]] = {way: [] for way in ("stage", "at_start", "packed")}
        for _ in range(args.executions):
            models = {}
            for way, done in costs.items():
                done.append(cost_of(command(way, folder, args.strategy), folder, environment()))
                models[way] = weights.read_bytes() if (weights := folder / "out/model.safetensors").exists() else None
            assert models["at_start"] == models["packed"] is not None, "both trainings make the same model"
    result |= {way: median(done) for way, done in costs.items()}
    write_result(args.output, result)
    print(json.dumps(result, indent=2))


def make_inputs(folder: Path, rows: int, strategy: str) -> None:
    """Write a small model, a processed dataset of kind chat, and the training of one step."""
    training_peers.make_inputs("sft", None, folder, rows=0, batch=1, ranks=1, steps=1)
    import inputs

    rng = np.random.default_rng(0)
    table = []
    for length in rng.integers(SHORTEST, LONGEST, rows):
        ids = rng.integers(2, training_peers.SMALL["vocab_size"], length).tolist()
        table.append({"input_ids": ids, "labels": [-100] * (length // 4) + ids[length // 4 :]})
    shutil.rmtree(folder / "data")
    inputs.write_dataset(folder / "data", "chat", table, LONGEST)
    run = json.loads((folder / "run.yaml").read_text())
    run["training"] |= {"packing": True, "packing_strategy": strategy, "seq_length": SEQ_LENGTH}
    (folder / "run.yaml").write_text(json.dumps(run))


def command(way: str, folder: Path, strategy: str) -> list[str]:
    """Return the command of one way; what it wrote before is deleted."""
    program = [os.environ.get("PYTHON_EXEC", sys.executable)]  # as torchrun starts a rank, without torchrun's own costs
    if way == "stage":
        shutil.rmtree(folder / "rows", ignore_errors=True)
        flags = {"dataset": "data", "strategy": strategy, "seq_length": SEQ_LENGTH, "output": "rows"}
        return [*program, str(ROOT / "scripts/pack_dataset.py"), *words(flags | {"metrics": "counts.json"})]
    shutil.rmtree(folder / "out", ignore_errors=True)
    flags = {"config": "run.yaml", "dataset": "data", "base": "base", "output": "out"}
    flags |= {"packed_rows": "rows"} if way == "packed" else {}
    return [*program, str(ROOT / "scripts/sft_train.py"), *words(flags)]


def words(flags: dict[str, object]) -> list[str]:
    """Return flags as words of a command line."""
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def parse_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "packed_rows")
    parser.add_argument("--rows", type=int, default=200_000, help="chats to pack")
    parser.add_argument("--strategy", default="bfd", help="as training.packing_strategy")
    parser.add_argument("--executions", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
