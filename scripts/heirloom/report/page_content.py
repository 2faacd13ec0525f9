"""What a page shows, as one JSON value: of a run with the runs that it stands on, or of all runs.

Both kinds of page have the same shape: {"title", "subject" (a run's name, or None for all runs), "first_screen" (of a
run), "runs", "completions" (answers that the run learned from, by step), "configs", "trainers", "lineage" (None where
it would be too wide), "data", "prompts", "prompts_in_all", "answering", "table", "comparisons", "all_compared" (whether
any two groups are, whose scores can be), "side_by_side" (whether curves and answers of all runs are on the page)}.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from heirloom.evaluation.harness.samples import first_samples
from heirloom.inference.generation_files import read_generations
from heirloom.report.all_runs import SIDE_BY_SIDE, common_and_own, compact_comparisons, runs_table
from heirloom.report.first_screen import first_screen
from heirloom.report.lineage import lineage
from heirloom.report.rewards.completions import completions_by_step
from heirloom.report.run_config import Config, flat_config, in_lineage_order
from heirloom.report.run_results import RunFiles, data_statistics, run_results
from heirloom.report.sample_generations import side_by_side
from heirloom.report.scores import with_harness
from heirloom.report.seeds import ALL_PAIRS, compare, group_scores, pairs_to_compare, seed_groups

MOST_DRAWN = 40
"""Runs and models whose lineage is drawn: of more it is wider than any screen."""


def run_content(
    name: str, configs: dict[str, Config], files: RunFiles, base_generations: Path | None = None
) -> dict[str, Any]:
    """Return the content of a run's page.

    `configs` has the run and all runs that it stands on; `base_generations` are the answers of its base to the
    same prompts, if there are any. Raises HeirloomError when a file is missing or damaged.
    """
    generations = {}
    if base_generations is not None:
        generations[configs[name]["base"]] = read_generations(base_generations)
    if files.generations is not None:
        generations[name] = read_generations(files.generations)
    results = run_results(name, files, configs[name].get("gates"))
    shared = shared_content(configs, files.data, generations, reported_among(configs, name))
    return {
        "title": name,
        "subject": name,
        "first_screen": first_screen(configs[name], results, shared["data"]),
        "runs": [results],
        "samples": first_samples(files.samples) if files.samples is not None else {},
        "completions": completions_by_step(files.completions) if files.completions is not None else [],
        "table": None,
        "comparisons": [],
        "all_compared": True,
        "side_by_side": True,
        **shared,
    }


def reported_among(configs: dict[str, Config], subject: str) -> list[str]:
    """Return the runs that a run stands on and that have pages."""
    return [name for name, config in configs.items() if name != subject and config.get("trainer")]


def all_runs_content(configs: dict[str, Config], linked: Collection[str]) -> dict[str, Any]:
    """Return the content of the page for all runs, from the results that exist; `linked` runs have a page.

    Raises HeirloomError when a file is damaged.
    """
    ordered = in_lineage_order(configs)
    files = {name: RunFiles.found(name, config) for name, config in ordered.items()}
    files = {name: found for name, found in files.items() if found}
    whole = len(files) <= SIDE_BY_SIDE
    answering = [name for name, found in files.items() if found.generations]
    if not whole:  # their curves and answers are not even read
        files = {name: replace(found, losses=None) for name, found in files.items()}
    runs = {name: run_results(name, found, ordered[name].get("gates")) for name, found in files.items()}
    generations = {name: read_generations(files[name].generations) for name in answering} if whole else {}
    groups = [
        {
            "runs": names,
            "scores": group_scores([all_scores(runs[name]) for name in names]),
        }
        for names in seed_groups({name: ordered[name] for name in runs})
    ]
    comparisons = [
        {"first": first, "second": second, "rows": rows}
        for first, second in pairs_to_compare(groups, ordered)
        if (rows := compare(groups[first]["scores"], groups[second]["scores"]))
    ]
    table = runs_table(groups, ordered, linked)
    data = tuple(sorted({path for found in files.values() for path in found.data}))
    return {
        "title": "All runs",
        "subject": None,
        "first_screen": None,
        "runs": list(runs.values()),
        "samples": {},
        "completions": [],
        "table": table,
        "comparisons": compact_comparisons(comparisons, table["scores"]),
        "all_compared": len(groups) <= ALL_PAIRS,
        "side_by_side": whole,
        **shared_content({name: ordered[name] for name in with_bases(runs, ordered)}, data, generations, linked),
        "answering": answering,
    }


def all_scores(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's evaluation, with the scores of the lm-evaluation-harness under the names of their tasks."""
    return with_harness(run["evaluation"], run["harness"])


def shared_content(
    configs: dict[str, Config],
    data: tuple[Path, ...],
    generations: dict[str, list[dict[str, Any]]],
    linked: Collection[str],
) -> dict[str, Any]:
    """Return the parts that both kinds of page make in the same way."""
    ordered = in_lineage_order(configs)
    prompts, prompts_in_all = side_by_side(generations)
    flat = {name: flat_config(config) for name, config in ordered.items()}
    return {
        "configs": common_and_own(flat),
        "trainers": {name: config.get("trainer") for name, config in ordered.items()},
        "lineage": lineage(ordered, linked) if len(ordered) <= MOST_DRAWN else None,
        "data": data_statistics(data),
        "prompts": prompts,
        "prompts_in_all": prompts_in_all,
        "answering": list(generations),
    }


def with_bases(names: Collection[str], configs: dict[str, Config]) -> list[str]:
    """Return the runs and every run that they stand on, in the order of `configs`."""
    wanted: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in configs and name not in wanted:
            wanted.add(name)
            pending.append(configs[name]["base"])
    return [name for name in configs if name in wanted]


def stages_behind(content: dict[str, Any]) -> list[str]:
    """Return the names of the stages whose work a page shows, in the order in which they run."""
    stages = [f"process-{dataset}" for dataset in content["data"]]
    results = {run["name"]: run for run in content["runs"]}
    for name, trainer in content["trainers"].items():
        if trainer is not None:
            stages.append(f"train-{name}")
        if name in content["answering"]:
            stages.append(f"generate-{name}")
        if name in results and results[name]["evaluation"]:
            stages.append(f"evaluate-{name}")
        if name in results and results[name]["harness"]:
            stages.append(f"harness-{name}")
    return stages
