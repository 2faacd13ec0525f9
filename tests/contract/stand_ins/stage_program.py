"""A stage's program that costs nothing: what it makes is a hash of what it is given.

Every execution adds a line to $TRACE. $FAIL and $SLOW name the stage that fails, or that sleeps half-way until there is
a file $TRACE.go; a training prints $STEPS lines of progress, and leaves $MEASURED for its record. $SALT makes each
result another one, as on a GPU.
"""

import argparse
import hashlib
import json
import os
import time
from pathlib import Path

from heirloom import shared_part, stage  # noqa: F401
from heirloom.artifacts import new_artifact
from heirloom.errors import HeirloomError
from heirloom.records.measured import MEASURED

# OWN IMPORTS

RESULTS = ("training", "losses", "completions", "evaluation", "base-generations", "harness", "samples")
"""What a report reads beside generations; the flag `--metrics` names what another stage writes."""

PACKED = {"rows_in": 40, "rows_out": 10, "tokens": 150, "longest_row": 16}
"""What packing made of rows."""
SETTINGS = ("generation", "training")
"""Sections that may stand in the command itself, as JSON; `--training` of a report names a file."""
SCORES = {"exact_match": 0.95, "interval": {"exact_match": {"low": 0.92, "high": 0.97, "prompts": 400}}}
"""What every run reaches, for gates."""


def main() -> None:
    arguments = parse_arguments()
    name = os.environ.get("DVC_STAGE", "by hand")
    with Path(os.environ["TRACE"]).open("a") as trace:
        trace.write(f"{name}\n")
    digest = hashlib.sha256(json.dumps(what_counts(arguments), sort_keys=True).encode()).hexdigest()
    if arguments.output:
        with new_artifact(arguments.output) as partial:
            partial.mkdir()
            (partial / "content.txt").write_text(digest + "\n")
            if name.startswith("train-"):
                tell_steps(int(os.environ.get("STEPS", "0")))
                if "MEASURED" in os.environ:
                    Path(os.environ["HEIRLOOM_WORK_DIR"], MEASURED).write_text(os.environ["MEASURED"])
            if os.environ.get("SLOW") == name:
                Path(os.environ["TRACE"] + ".slow").touch()
                wait_for(Path(os.environ["TRACE"] + ".go"))
            if os.environ.get("FAIL") == name:
                raise HeirloomError("this stage was told to fail")
            (partial / "more.txt").write_text(digest[::-1] + "\n")
            if name.startswith("train-"):
                (partial / "heirloom.json").write_text("{}")
                (partial / "model.safetensors").write_text(digest)
    for file in filter(None, (arguments.metrics, arguments.statistics)):
        with new_artifact(file) as partial:
            counts = {"train": PACKED} if arguments.strategy else {}
            partial.write_text(json.dumps({"value": int(digest[:4], 16), **SCORES, **counts}))
    if arguments.completions and arguments.loss:  # a training writes them, a report reads them
        with new_artifact(arguments.completions) as partial:
            partial.write_text(f'{{"answer": "{digest}"}}\n')
    if arguments.loss:
        with new_artifact(arguments.loss) as partial:
            partial.write_text("step,loss\n1,2.0\n")
        (Path(os.environ["HEIRLOOM_WORK_DIR"]) / "throughput.csv").write_text("step,seconds\n1,0.5\n")


def tell_steps(steps: int) -> None:
    """Print lines as a training does, one every 0.8 s."""
    for step in range(1, steps + 1):
        print(f"step {step}/{steps}  loss 1.0000  0:00:{steps - step:02} left", flush=True)
        time.sleep(0.8)


def wait_for(file: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)


def file_or_section(text: str) -> Path | str:
    """Return the value of a flag: a path, or a section of the config as it stands in the command."""
    return text if text.startswith("{") else Path(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in (
        "config",
        "sections",
        "generation",
        "trainer",
        "strategy",
        "seq_length",
        "output",
        "metrics",
        "statistics",
        "loss",
        "deepspeed",
        "metric",
        "batch_size",
    ):
        parser.add_argument(f"--{flag}")
    for flag in (
        "raw",
        "tokenizer",
        "dataset",
        "base",
        "checkpoint",
        "generations",
        "reference_scores",
        "packed_rows",
        "tried_rewards",
        *RESULTS,
    ):
        parser.add_argument(f"--{flag}", type=file_or_section)
    for flag in ("data", "ancestors", "scores", "base-scores"):
        parser.add_argument(f"--{flag}", nargs="+")
    parser.add_argument("--against", type=lambda words: Path(words.partition("=")[2]))
    return parser.parse_args()


def what_counts(arguments: argparse.Namespace) -> dict:
    """Return what the result depends on: the sections of the config, or of the command, and the inputs' content."""
    from heirloom.config.parsing.reading import read_yaml

    config = read_yaml(Path(arguments.config)) if arguments.config else {}
    sections = {name: config[name] for name in (arguments.sections or "").split(",") if name}
    said = {name: value for name in SETTINGS if isinstance(value := getattr(arguments, name), str)}
    sections |= {name: json.loads(value) for name, value in said.items()}
    made = (arguments.completions,) if arguments.loss else ()
    inputs = [path for path in vars(arguments).values() if isinstance(path, Path) and path not in made]
    several = (arguments.data, arguments.ancestors, arguments.scores, arguments.base_scores)
    inputs += [Path(text.partition("=")[0]) for texts in several for text in texts or ()]
    files = sorted(
        file for path in inputs for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    )
    return {
        "salt": os.environ.get("SALT"),
        "sections": sections,
        "files": {str(file): file.read_text() for file in files},
    }


if __name__ == "__main__":
    stage.run(main)
