"""What DPO takes with its reference in memory, and with the scores that the reference has given before.

    python benchmarks/reference_scores.py [--layers 8] [--hidden-size 512] [--model FOLDER] [--steps 20] [--output FILE]

The same training on one rank, in float32 on a CPU: `inline` with a second model and its pass in each step, `scores`
with the numbers of `stage`, scripts/score_reference.py, which runs once for all trainings on the same base and rows.
CPU seconds of each program from its start to its end, start-up included (told apart: a training of one step), and the
most memory that its rank held. Medians of several executions, the ways in turn.
"""

import argparse
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import training_peers
from measuring import Cost, command_line, cost_of, machine, median, write_result

ROOT = Path(__file__).resolve().parent.parent
BATCH = 2
"""Pairs a step."""


def main() -> None:
    args = parse_arguments()
    shape = {"hidden_size": args.hidden_size, "intermediate_size": 4 * args.hidden_size}
    training_peers.SMALL |= {**shape, "num_hidden_layers": args.layers, "num_attention_heads": 8}
    training_peers.SMALL |= {"num_key_value_heads": 8}
    result = {"machine": machine("torch", "transformers", "trl"), "steps": args.steps, "pairs_a_step": BATCH}
    result |= {"model": args.model.name} if args.model else {"layers": args.layers, "hidden_size": args.hidden_size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model.absolute() if args.model else None
        training_peers.make_inputs(
            "dpo", model, folder, rows=args.steps * BATCH, batch=BATCH, ranks=1, steps=args.steps
        )
        costs: dict[str, list[Cost]] = {way: [] for way in ("stage", "inline", "scores", "one step")}
        for _ in range(args.executions):
            for way, done in costs.items():
                done.append(cost_of(command(way, folder), folder, environment()))
    result |= {way.replace(" ", "_"): median(done) for way, done in costs.items()}
    write_result(args.output, result)
    print(json.dumps(result, indent=2))


def command(way: str, folder: Path) -> list[str]:
    """Return the command of one way; what it wrote before is deleted."""
    program = [os.environ.get("PYTHON_EXEC", sys.executable)]  # as torchrun starts a rank, without torchrun's own costs
    if way == "stage":
        shutil.rmtree(folder / "scores", ignore_errors=True)
        flags = {"trainer": "dpo", "dataset": "data", "base": "base", "output": "scores"}
        flags |= {"training": json.dumps({"per_device_train_batch_size": BATCH})}
        words = [word for name, value in flags.items() for word in (f"--{name}", value)]
        return [*program, str(ROOT / "scripts/score_reference.py"), *words]
    shutil.rmtree(folder / "out", ignore_errors=True)
    words = ["--config", "run.yaml", "--dataset", "data", "--base", "base", "--output", "out"]
    words += ["--max_steps", "1"] if way == "one step" else []
    words += [] if way == "inline" else ["--reference_scores", "scores"]
    return [*program, str(ROOT / "scripts/dpo_train.py"), *words]


def environment() -> dict[str, str]:
    """Return the variables of the one rank of a training, on one thread of a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**os.environ, **ranks, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def parse_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "reference_scores")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--model", type=Path, help="folder of a model to train instead, with its tokenizer")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--executions", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
