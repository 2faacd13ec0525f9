"""Make one HTML page of a run's results, or of all runs, that opens anywhere without a network.

    python scripts/launch.py python scripts/create_report.py --config config/demo/runs/demo-sft.yaml
        --sections base,dataset,trainer,training,generation,evaluation
        --ancestors config/demo/runs/demo-pretrain.yaml=base,dataset,trainer,training,generation,evaluation
        --training metrics/training/demo-sft.json --losses metrics/loss/demo-sft.csv --data metrics/data/demo-chat.json
        --evaluation metrics/evaluation/demo-sft.json --generations generations/demo-sft
        --base-generations generations/demo-pretrain --output reports/demo-sft.html
    python scripts/create_report.py --all        # reports/index.html, from whatever results are here

In:  what the stages wrote of their results, and the run's file in config/. Times and prices come from
     .heirloom/records where they are, speed and memory of trainings from .heirloom/throughput; they are no part of the
     stage's identity.
Out: one HTML file.
"""

import argparse
from pathlib import Path
from typing import Any

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.folders import named_files
from heirloom.errors import HeirloomError
from heirloom.report.execution_records import read_records
from heirloom.report.gates import add_others
from heirloom.report.page import render
from heirloom.report.page_content import all_runs_content, run_content, stages_behind
from heirloom.report.run_config import REPORTED, read_run_config
from heirloom.report.run_results import RunFiles
from heirloom.stage_arguments import names_among, output_path

INDEX = Path("reports/index.html")


def main() -> None:
    options = parse_arguments()
    content = content_of_all_runs(options.output) if options.all else content_of_run(options)
    with_curves = [run["name"] for run in content["runs"]] if content["side_by_side"] else []
    page = render(content, read_records(stages_behind(content), with_curves))
    with new_artifact(options.output) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"{options.output}: {len(page):,} characters", flush=True)


def content_of_run(options: argparse.Namespace) -> dict[str, Any]:
    """Return the content of the page of the run that the options describe."""
    configs = {options.config.stem: read_run_config(options.config, options.sections)}
    for file, sections in options.ancestors:
        configs[file.stem] = read_run_config(file, sections)
    files = RunFiles(
        training=options.training,
        losses=options.losses,
        completions=options.completions,
        evaluation=options.evaluation,
        harness=options.harness,
        samples=options.samples,
        generations=options.generations,
        data=tuple(options.data),
        others_evaluation=dict(options.against_evaluation),
        others_harness=dict(options.against_harness),
    )
    return run_content(options.config.stem, configs, files, options.base_generations)


def content_of_all_runs(output: Path) -> dict[str, Any]:
    """Return the content of the page of all runs in config/runs/ that have results.

    Raises HeirloomError when none has.
    """
    configs = {name: read_run_config(file) for name, file in sorted(named_files(Path(), "runs").items())}
    linked = [name for name in configs if (output.parent / f"{name}.html").is_file()]
    content = all_runs_content(configs, linked)
    if not content["runs"]:
        raise HeirloomError(
            "no run of config/runs/ has results here yet: `snakemake` makes them, `make pull` fetches them"
        )
    return content


def file_and_sections(text: str) -> tuple[Path, list[str]]:
    """Return file and keys of `FILE=KEYS`. Raises argparse's error for keys that no run's file has."""
    file, _, sections = text.partition("=")
    return Path(file), names_among(REPORTED)(sections)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--all", action="store_true", help="the page of all runs, instead of one run's")
    parser.add_argument("--config", type=Path, help="file of the run")
    parser.add_argument("--sections", type=names_among(REPORTED), help="keys of it that are shown, a,b")
    parser.add_argument(
        "--ancestors",
        type=file_and_sections,
        nargs="+",
        default=[],
        metavar="FILE=KEYS",
        help="files of the runs that it stands on",
    )
    parser.add_argument("--training", type=Path, help="metrics of the training, JSON")
    parser.add_argument("--losses", type=Path, help="the training step by step, CSV")
    parser.add_argument("--completions", type=Path, help="answers that the training learned from, JSONL")
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="statistics of the datasets, JSON")
    parser.add_argument("--evaluation", type=Path, help="scores, JSON")
    parser.add_argument("--harness", type=Path, help="scores of the lm-evaluation-harness, JSON")
    parser.add_argument("--samples", type=Path, help="folder with its answers to each question of that harness")
    add_others(parser)
    parser.add_argument("--generations", type=Path, help="folder with the run's answers")
    parser.add_argument("--base-generations", type=Path, help="folder with its base's answers to the same prompts")
    parser.add_argument("--output", type=output_path, help=f"HTML file to write; with --all {INDEX} unless given")
    options = parser.parse_args()
    if options.all:
        if options.config or options.sections:
            parser.error("--all takes the runs from config/runs/: leave --config and --sections out")
        options.output = options.output or INDEX
    elif not (options.config and options.sections and options.output):
        parser.error("give --config, --sections and --output for a run's page, or --all")
    return options


if __name__ == "__main__":
    stage.run(main)
