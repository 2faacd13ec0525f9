"""Measure the check of the whole configuration: 10, 100, 1000 runs with a dataset each, cold and with a warm cache.

    python benchmarks/config_load.py [--runs 10 100 1000] [--repeat 3]

Each measurement is a process of its own and includes imports; the least of the repeats is shown.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000], help="sizes of the made projects")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each kind")
    args = parser.parse_args()

    print(f"{'runs':>6} {'cache':>6} {'CPU s':>8} {'wall s':>8} {'MB':>6}")
    for count in args.runs:
        with tempfile.TemporaryDirectory() as folder:
            root, cache = Path(folder, "project"), Path(folder, "cache")
            make_project(root, count)
            for kind in ("none", "cold", "warm"):
                figures = []
                for _ in range(args.repeat):
                    if kind == "cold":
                        (cache / "config.json").unlink(missing_ok=True)
                    figures.append(measured(root, None if kind == "none" else cache))
                cpu, wall, memory = (min(column) for column in zip(*figures, strict=True))
                print(f"{count:>6} {kind:>6} {cpu:>8.2f} {wall:>8.2f} {memory:>6.0f}")


def make_project(root: Path, count: int) -> None:
    """Write a model, and `count` datasets and runs in chains of three, of the size of the shipped files."""
    for folder in ("datasets", "models", "runs", "deepspeed"):
        (root / "config" / folder).mkdir(parents=True)
    (root / "config/deepspeed/zero2.json").write_text('{"zero_optimization": {"stage": 2}}')
    model = "tokenizer: {train_on: d0, vocab_size: 512}\ninit: {model_type: llama, hidden_size: 96}\n"
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


def measured(root: Path, cache: Path | None) -> tuple[float, float, float]:
    """Return CPU seconds, wall seconds and MB of a process that loads the project."""
    code = (
        "import resource; from pathlib import Path; from heirloom.config.project import load_project; "
        f"load_project(Path({str(root)!r}), {f'Path({str(cache)!r})' if cache else None}); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, wall, float(result.stdout)


if __name__ == "__main__":
    main()
