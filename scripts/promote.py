"""Rank the runs of a sweep by a score, and make run files of your own of the best.

    python scripts/promote.py x --metric exact_match             (make promote SWEEP=x METRIC=exact_match)
    python scripts/promote.py x --metric exact_match --top 2     (make promote SWEEP=x METRIC=exact_match TOP=2)

In:  config/, and RUN.json of metrics/training/, metrics/evaluation/ and metrics/harness/ as they lie here.
Out: a table of the settings, runs that differ only in their seed being one; with --top the files of the best settings'
     runs, config/sweeps/x/RUN.yaml, become run files like those of config/runs/: yours to edit, and there whatever
     becomes of the sweep. They stay where they are, so that nothing is made again.
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from heirloom import stage
from heirloom.config.folders import named_files
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.project import Project, load_project
from heirloom.config.run import Run
from heirloom.config.sweeps.members import Member
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.report.ranking import Rank, rank
from heirloom.report.run_config import REPORTED
from heirloom.report.terminal_text import forgive_characters

METRICS = Path("metrics")
STAGES = ("training", "evaluation", "harness")


def main() -> None:
    forgive_characters()
    options = parse_arguments()
    project = load_project(Path(), None)
    runs = runs_of(options.sweep, project)
    results = {name: found for name in runs if (found := read_results(name))}
    if not results:
        raise HeirloomError(
            f"no run of {options.sweep} has scores here: `snakemake` makes them, `make pull` fetches them"
        )
    configs = {name: {key: run.raw[key] for key in REPORTED if key in run.raw} for name, run in runs.items()}
    higher = None if options.greater_is_better is None else options.greater_is_better == "true"
    ranks = rank(configs, results, options.metric, higher)
    if options.top is not None and not 1 <= options.top <= len(ranks):
        raise HeirloomError(
            f"--top {options.top}: {len(ranks)} settings have a score {options.metric}; give 1 to {len(ranks)}"
        )
    console = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
    console.print(table_of(ranks, options, runs), soft_wrap=False)
    ranked = {name for one in ranks for name in one.runs}
    if missing := [name for name in runs if name not in ranked]:
        some = f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}"
        console.print(f"{len(missing)} of {len(runs)} runs have no {options.metric} here: {some}")
    console.print(noise(ranks, options.top))
    for name in (name for one in ranks[: options.top or 0] for name in one.runs):
        run = runs[name]
        member = project.members.get(run.path)
        if member is not None:
            promote(member, options)
        console.print(f"{run.path}: {'a run of your own now' if member else 'is a run of your own already'}")


def runs_of(sweep: str, project: Project) -> dict[str, Run]:
    """Return the runs of a sweep by name, those among them that were promoted. Raises HeirloomError for no sweep."""
    sweeps = named_files(Path(), "sweeps")
    if sweep not in sweeps:
        raise HeirloomError(f"there is no config/sweeps/{sweep}.yaml; {did_you_mean(sweep, sweeps)}")
    folder = sweeps[sweep].with_suffix("")
    return {name: run for name, run in sorted(project.runs.items()) if Path(run.path).parent == folder}


def read_results(run: str) -> dict[str, dict[str, Any]]:
    """Return the run's metrics by the stage that wrote them, STAGES; those that there are. Raises HeirloomError."""
    files = {stage: METRICS / stage / f"{run}.json" for stage in STAGES}
    return {stage: read_json(file) for stage, file in files.items() if file.is_file()}


def table_of(ranks: Iterable[Rank], options: argparse.Namespace, runs: dict[str, Run]) -> Table:
    """Return a line a setting, the best first."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column(f"{options.sweep}-", overflow="fold", min_width=18)
    for title in (options.metric, "95 %", "seeds ×\nprompts"):
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("beside the best", overflow="fold")
    for one in ranks:
        score = one.score
        interval = " to ".join(f"{end:.4g}" for end in score["interval"]) if score["interval"] else "-"
        size = f"{score['seeds']} × {score['prompts'] or '-'}"
        name = setting(one, runs).removeprefix(f"{options.sweep}-")
        table.add_row(name, f"{score['mean']:.4g}", interval, size, one.verdict)
    return table


def setting(one: Rank, runs: dict[str, Run]) -> str:
    """Return what the runs of a setting are called, but for the seed."""
    seed = (runs[one.runs[0]].raw.get("training") or {}).get("seed")
    return one.runs[0].removesuffix(f"-seed{seed}") if len(one.runs) > 1 else one.runs[0]


def noise(ranks: list[Rank], top: int | None) -> str:
    """Return what the order of the settings does not say."""
    as_good = [one for one in ranks[1:] if one.verdict != "worse"]
    if not as_good:
        return "all others are worse than the best"
    left_out = [one for one in ranks[top:] if one.verdict != "worse"] if top else []
    more = f"; left out by nothing but the order: {len(left_out)}" if left_out else ""
    return f"cannot be told from the best: {len(as_good)} of {len(ranks) - 1}{more}"


def promote(member: Member, options: argparse.Namespace) -> None:
    """Give a member's file another beginning: it says the same from then on, and nothing writes it again."""
    path = Path(member.path)
    schema = "../" * (len(path.parts) - 1) + "workflow/schemas/run.schema.json"
    beginning = (
        f"# yaml-language-server: $schema={schema}\n"
        f"# Promoted from {member.sweep}: of the best settings by {options.metric} (TOP={options.top}).\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(beginning + member.text.partition("\n")[2], encoding="utf-8")
    partial.replace(path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("sweep", metavar="SWEEP", help="of a file in config/sweeps/, without .yaml")
    parser.add_argument(
        "--metric", required=True, help="a score, e.g. exact_match, rouge.rougeL, training.after.perplexity"
    )
    parser.add_argument("--top", type=int, help="make run files of so many settings; absent: the table alone")
    parser.add_argument(
        "--greater-is-better",
        choices=("true", "false"),
        help="where it is not known whether more of the metric is better",
    )
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
