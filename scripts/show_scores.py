"""Show the scores of the runs in config/runs/ side by side, and where to look next.

    python scripts/show_scores.py               # the runs that have been scored
    python scripts/show_scores.py demo-sft …    # these

Reads RUN.json of metrics/training/, metrics/evaluation/ and metrics/harness/, and generations/RUN; writes nothing.
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import argparse
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heirloom import stage
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.project import Project, load_project
from heirloom.demo.lessons import lessons
from heirloom.errors import HeirloomError, plain
from heirloom.inference.generation_files import read_generations
from heirloom.json_files import read_json
from heirloom.report.scores import flat_scores, harness_rows, is_finite, verdict
from heirloom.report.terminal_text import forgive_characters

METRICS = Path("metrics")
WIDTH = 79
STAGES = ("training", "evaluation", "harness")
EXACT_MATCH = "exact_match"
IN_THE_TABLE = ("perplexity", "nll_per_token", EXACT_MATCH, "answer_found", "patterns", "token_counts")
"""Families of scores that have columns, or go without saying beside one."""
DEMO = {"demo-pretrain", "demo-sft", "demo-dpo", "demo-grpo"}
NEXT = """\
Where to look next
  generations/RUN/generations.jsonl    every answer, with prompt and reference
  data/processed/DATASET/preview.html  what a model learned from, token by token
  reports/RUN.html                     all results of a run on one page
  dvc plots show                       the loss, step by step (metrics/loss/)
  dvc metrics show, dvc metrics diff   all scores; what changed since a commit
  logs/STAGE.log                       what each stage printed
  docs/demo.md                         the demo's little world
  config/README.md                     every key; how to define a new run"""


def main() -> None:
    forgive_characters()
    project = load_project(Path(), None)
    wanted = parse_arguments().runs
    for name in wanted:
        if name not in project.runs:
            raise HeirloomError(f"there is no run {name} in config/runs/; {did_you_mean(name, project.runs)}")
    names = [name for name in in_order(project) if not wanted or name in wanted]
    scores = {name: read_scores(name) for name in names}
    scores = {name: found for name, found in scores.items() if found}
    if not scores:
        which = f"{', '.join(wanted)}: not scored" if wanted else "no run has been scored"
        raise HeirloomError(f"{which} yet: `snakemake` trains and scores those of config/runs/")
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(score_table(project, scores), soft_wrap=False)
    changes = change_table(scores)
    if changes.row_count:
        console.print(changes, soft_wrap=False)
    for line in other_scores(scores):
        console.print(line)
    for line in sample_answers(list(scores)):
        console.print(line)
    if set(scores) >= DEMO:
        console.print()
        for lesson in lessons(METRICS):
            console.print(f"{'[green]✓' if lesson.holds else '[red]✗'}[/] {lesson.stage} {lesson.claim}")
    console.print(f"\n{NEXT}")


def in_order(project: Project) -> list[str]:
    """Return the names of the runs, each after the run that it starts from."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        base = project.runs[name].base
        if base in project.runs and base not in ordered:
            add(base)
        ordered.setdefault(name)

    for name in sorted(project.runs):
        add(name)
    return list(ordered)


def read_scores(run: str) -> dict[str, dict[str, Any]]:
    """Return the run's metrics by the stage that wrote them, STAGES; those that there are. Raises HeirloomError."""
    files = {stage: METRICS / stage / f"{run}.json" for stage in STAGES}
    return {stage: read_json(file) for stage, file in files.items() if file.is_file()}


def score_table(project: Project, scores: dict[str, dict[str, Any]]) -> Table:
    """Return one line a run: held-out perplexity before and after training, then the scores of its answers."""
    shares = columns_of_shares(found.get("evaluation", {}) for found in scores.values())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for title in ("\nrun", "\ntrainer"):
        table.add_column(title, no_wrap=True)
    for title in (
        "perplexity\nbefore",
        "\nafter",
        *("exact\nmatch" if key == EXACT_MATCH else f"\n{title}" for key, title in shares.items()),
        "tokens/\nanswer",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for name, found in scores.items():
        run, training, evaluation = project.runs[name], found.get("training", {}), found.get("evaluation", {})
        table.add_row(
            name,
            run.trainer or "-",
            number(training.get("before", {}).get("perplexity", evaluation.get("base", {}).get("perplexity"))),
            number(training.get("after", {}).get("perplexity", evaluation.get("perplexity"))),
            *(share(flat_scores(evaluation).get(key)) for key in shares),
            number(evaluation.get("token_counts", {}).get("completion", {}).get("mean")),
        )
    return table


def change_table(scores: dict[str, dict[str, Any]]) -> Table:
    """Return one line a run whose answers were scored beside its base's: by how much the scores changed."""
    evaluations = {name: found["evaluation"] for name, found in scores.items() if "evaluation" in found}
    shares = columns_of_shares(evaluations.values())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("change from base,\nin points (95 %)", no_wrap=True)
    for title in shares.values():
        table.add_column(f"\n{title}", justify="right", no_wrap=True)
    for name, found in evaluations.items():
        if found.get("change", {}).keys() & shares.keys():
            table.add_row(name, *(points(key, found["change"].get(key)) for key in shares))
    return table


def columns_of_shares(evaluations: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return score → title of the shares of answers that any of these runs has: exact match, then its patterns."""
    titles: dict[str, str] = {}
    for found in evaluations:
        if EXACT_MATCH in found:
            titles[EXACT_MATCH] = "exact match"
        titles |= {f"patterns.{name}": name for name in found.get("patterns", {})}
    return dict(sorted(titles.items(), key=lambda column: column[0] != EXACT_MATCH))


def other_scores(scores: dict[str, dict[str, Any]]) -> Iterator[Text]:
    """Yield for each run that has some its scores without a column, those of the lm-evaluation-harness last."""
    for name, found in scores.items():
        values = {
            score: value
            for score, value in flat_scores(found.get("evaluation", {})).items()
            if score.partition(".")[0] not in IN_THE_TABLE
        }
        told = [f"{score}\u00a0{short(value)}" for score, value in values.items()]
        told += [f"lm_eval\u00a0{with_interval(row)}" for row in harness_rows(found.get("harness", {}))]
        if told:
            lines = textwrap.wrap(", ".join(told), WIDTH, initial_indent=f"  {name:14} ", subsequent_indent=" " * 17)
            yield from (Text(line.replace("\u00a0", " ")) for line in lines)


def with_interval(row: dict[str, Any]) -> str:
    """Return a score of the harness, with its interval, and with the base's before it where that was scored."""
    before = "" if row["base"] is None else f"{short(row['base'])}\u00a0→\u00a0"
    limits = "" if row["interval"] is None else f" ({' to '.join(map(short, row['interval']))})".replace(" ", "\u00a0")
    means = "" if row["verdict"] in (None, "within the noise") else f"\u00a0{row['verdict']}"
    return f"{row['name']}\u00a0{before}{short(row['value'])}{limits}{means}"


def short(value: Any) -> str:
    return format(value, ".3g") if is_finite(value) else str(value)


def sample_answers(runs: Sequence[str]) -> Iterator[Text]:
    """Yield a prompt to which the runs gave the most different answers, and what each of them said."""
    completions: dict[str, dict[str, str]] = {}
    for run in runs:
        folder = Path("generations") / run
        for row in read_generations(folder) if folder.is_dir() else []:
            completions.setdefault(row["prompt"], {})[run] = row["completion"].strip()
    if completions:
        prompt, answers = max(completions.items(), key=lambda item: (len(set(item[1].values())), len(item[1])))
        yield Text.assemble(("A held-out prompt and its answers:", "dim"), f" {plain(prompt)}")
        yield from (Text(f"  {run:14} {plain(answer)}") for run, answer in answers.items())


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def points(score: str, change: dict[str, float] | None) -> str:
    """Return a change of a share in percentage points, with its interval and what that means."""
    if change is None:
        return "-"
    if "low" not in change:
        return f"{100 * change['difference']:+.0f}"
    difference, low, high = (f"{100 * change[part]:+.0f}" for part in ("difference", "low", "high"))
    means = verdict(score, change)
    return f"{difference} ({low} to {high}){'' if means == 'within the noise' else f' {means}'}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="runs to show; absent: all that have been scored")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
