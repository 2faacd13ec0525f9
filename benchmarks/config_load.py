"""Measure the check of the whole configuration: 10, 100, 1000 runs with a dataset each, cold and with a warm cache.

    python benchmarks/config_load.py [--runs 10 100 1000] [--executions 3] [--output FILE]

Each execution is a process of its own and includes imports; the least of them counts.
"""

import sys
import tempfile
from pathlib import Path

from measuring import command_line, cost_of, least, machine, write_result

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def main() -> None:
    parser = command_line(__doc__, "config_load")
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000], help="sizes of the made projects")
    parser.add_argument("--executions", type=int, default=3, help="of each kind")
    args = parser.parse_args()

    result = {"machine": machine("pydantic", "ruamel.yaml"), "check of the configuration": {}}
    for count in args.runs:
        with tempfile.TemporaryDirectory() as folder:
            root, cache = Path(folder, "project"), Path(folder, "cache")
            make_project(root, count)
            rows = result["check of the configuration"][f"{count} runs"] = {}
            for kind in ("no cache", "cold cache", "warm cache"):
                costs = []
                for _ in range(args.executions):
                    if kind == "cold cache":
                        (cache / "config.json").unlink(missing_ok=True)
                    costs.append(cost_of(loading(root, None if kind == "no cache" else cache), SCRIPTS))
                rows[kind] = least(costs)
                figures = " ".join(f"{name} {value}" for name, value in rows[kind].items())
                print(f"{count:>6} runs  {kind:10}  {figures}", flush=True)
    write_result(args.output, result)


def make_project(root: Path, count: int) -> None:
    """Write a model, and `count` datasets and runs in chains of three, of the size of the shipped files."""
    for folder in ("datasets", "models", "runs", "deepspeed"):
        (root / "config" / folder).mkdir(parents=True)
    (root / "config/deepspeed/zero2.json").write_text('{"zero_optimization": {"stage": 2}}')
    (root / "config/datasets/text.yaml").write_text(
        "tokenizer: tiny\nsource: {generator: demo, part: text, rows: 4000}\n"
        "processing: {processing_function: plain_text_processing_function, max_length: 128}\n"
    )
    model = "tokenizer: {train_on: text, vocab_size: 512}\ninit: {model_type: llama, hidden_size: 96}\n"
    (root / "config/models/tiny.yaml").write_text(model)
    for number in range(count):
        (root / f"config/datasets/d{number}.yaml").write_text(
            f"tokenizer: tiny\nsource: {{generator: demo, part: chats, rows: 4000, seed: {number}}}\n"
            "processing:\n  processing_function: dummy_processing_function\n  max_length: 128    # tokens\n"
        )
        base = f"r{number - 1}" if number % 3 else "tiny"
        (root / f"config/runs/r{number}.yaml").write_text(
            f"# run {number}\nbase: {base}\ndataset: d{number}\ntrainer: sft\ndeepspeed: zero2\n"
            "training:\n  learning_rate: 1.0e-5\n  global_batch_size: 64\n  max_steps: 100\n"
            f"  seed: {number}\ngeneration: {{max_new_tokens: 16}}\nevaluation: {{metrics: [exact_match]}}\n"
            "tracking: {report_to: none, logging_steps: 5}\n"
        )


def loading(root: Path, cache: Path | None) -> list[str]:
    """Return the command of a process that loads the project."""
    code = (
        "from pathlib import Path; from heirloom.config.project import load_project; "
        f"load_project(Path({str(root)!r}), {f'Path({str(cache)!r})' if cache else None})"
    )
    return [sys.executable, "-c", code]


if __name__ == "__main__":
    main()
