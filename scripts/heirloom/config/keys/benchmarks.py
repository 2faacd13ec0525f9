"""Whether the datasets that a run's `lm_eval:` names bring what the harness's own tasks read."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from heirloom.config.arguments.harness_tasks import DEFAULT, tasks_of
from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.config.sections.source import DatasetSource

PUNKT = "tokenizers/punkt_tab"
"""Where nltk's data to split sentences are, below a folder of its data."""
SHOWN = 3
"""So many configurations are named in a message."""


def benchmark_problems(
    section: LmEvalSection, sources: Mapping[str, DatasetSource | str | None]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (nested keys, sentence) for rows that no dataset brings, that two bring, and datasets that bring none.

    `sources`: of each of the section's datasets where it comes from, what is wrong with its name, or None where a
    mistake in its file hides it.
    """
    if section.datasets is None:
        return
    for place, name in enumerate(section.datasets):
        source = sources[name]
        if isinstance(source, str):
            yield ("lm_eval", "datasets", place), source
        elif source is not None and source.hub is None:
            problem = f"{name} comes from no hub, and the harness's tasks read rows of hub datasets; name another"
            yield ("lm_eval", "datasets", place), problem
    known = {name: source for name, source in sources.items() if isinstance(source, DatasetSource) and source.hub}
    if len(known) < len(section.datasets):
        return
    missing: dict[tuple[str, str], list[str]] = {}
    used: set[str] = set()
    for name in section.tasks:
        for task in tasks_of(name).values():
            bringing = [each for each, source in known.items() if brings(source, task.dataset, task.config)]
            used.update(bringing)
            if not bringing:
                missing.setdefault((name, task.dataset), []).append(task.config)
            elif len(bringing) > 1:
                both = " and ".join(bringing)
                yield ("lm_eval", "datasets"), f"{both} both bring {task.dataset}, which {name} reads; keep one of them"
                return
    for (name, dataset), configs in missing.items():
        yield ("lm_eval", "datasets"), missing_rows(name, dataset, sorted({*configs}))
    unused = [] if missing else [name for name in section.datasets if name not in used]
    for name in unused:
        problem = f"none of the tasks reads {known[name].hub} as {name} brings it; delete it"
        yield ("lm_eval", "datasets", section.datasets.index(name)), problem


def missing_rows(task: str, dataset: str, configs: list[str]) -> str:
    """Return what is wrong where no dataset brings the rows of a task."""
    if configs == [DEFAULT]:
        which, how = "", ""
    elif len(configs) == 1:
        which, how = f" (configuration {configs[0]})", f", config: {configs[0]}"
    else:
        more = f" and {len(configs) - SHOWN} more" if len(configs) > SHOWN else ""
        which, how = f" (configurations {', '.join(configs[:SHOWN])}{more})", ', configs: ["*"]'
    return (
        f"none of them brings {dataset}{which}, which {task} reads; name a file of config/datasets/ with "
        f"`source: {{hub: {dataset}{how}, revision: …}}`"
    )


def brings(source: DatasetSource, dataset: str, config: str) -> bool:
    """Say whether a source brings a configuration of a hub dataset."""
    if source.configs is not None:
        return source.hub == dataset and any(fnmatchcase(config, pattern) for pattern in source.configs)
    return source.hub == dataset and (source.config or DEFAULT) == config
