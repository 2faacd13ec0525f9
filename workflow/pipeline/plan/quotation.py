"""The plan as a quotation: what each stage that would run takes, before anything is submitted.

Steps, tokens, time and memory come from heirloom/estimates and from the records of earlier executions; nothing here
asks a network, an account or torch. What is not known stays None, and `unknown` says in a sentence why.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from heirloom.config.before_training.tried_rewards import KINDS, TRIED
from heirloom.config.project import Project
from heirloom.config.reward_models import is_reward_model
from heirloom.config.run import Run
from heirloom.config.sections.resources import Machines
from heirloom.config.trainers.table import TRAINERS
from heirloom.estimates.duration import START_UP, Duration, from_operations
from heirloom.estimates.fitting import Fit, cheapest_change, fit_of
from heirloom.estimates.host_memory import HostMemory, answering_host, machine_memory, training_host
from heirloom.estimates.model_shape import ModelShape
from heirloom.estimates.prices import Prices, Spot, read_prices
from heirloom.estimates.setups import (
    Hosts,
    argument,
    attended_tokens,
    counted,
    held_out_rows,
    hosts,
    json_object,
    longest_as_trained,
    rows_of,
    shape_and_dtype,
    trained_rows,
    training_setup,
)
from heirloom.estimates.steps import Rows, Steps, steps_of, steps_of_answers
from pipeline.graph import Stage, counts_of_packed, packed_rows
from pipeline.ledger import Action, Ledger
from pipeline.plan.answers import UNKNOWN_LENGTH, answering_fit, first_time, prompts_of
from pipeline.plan.costs import spot_shares
from pipeline.plan.learned import Execution, Learned
from pipeline.plan.storage import NOTHING_KEPT, Kept, Sizes, Storage, kept_for_resuming, storage

QUOTED = {"reference": "training", "train": "training", "generate": "generation", "baseline": "generation"}
QUOTED |= {"scores": "evaluation", "evaluate": "evaluation", "rewards": "training"}
"""Kinds of stages that are quoted → the machines of a run that they take."""


def is_quoted(stage: Stage, project: Project) -> bool:
    """Say whether a stage is quoted: of the kinds above, but rewards that are tried without a model take seconds."""
    return stage.kind in QUOTED and not stage.is_light and stage.run in project.runs


def machines_of(stage: Stage, run: Run) -> Machines:
    """Return the machines that a stage takes."""
    machines = run.resources.machines(QUOTED[stage.kind])
    return machines.of_one_process() if stage.kind == "rewards" else machines


@dataclass
class Quote:
    """What one stage takes."""

    stage: Stage
    hosts: Hosts
    reasons: list[str]
    steps: Steps | None = None
    at_most: bool = False
    """Whether early stopping may end the training before all of `steps`."""
    duration: Duration | None = None
    fit: Fit | None = None
    host_memory: HostMemory | None = None
    """Main memory of each machine; the first one's, which has the most to do."""
    storage: Storage | None = None
    remedy: str | None = None
    """The cheapest change that fits, of a training that does not or hardly does."""
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What costs more than it need, and why."""
    dollars: float | None = None
    """Expected US dollars on demand."""
    spot: Spot | None = None
    """What spot capacity is thought to take in their place."""
    last: Execution | None = None
    """The last execution of the stage, where it was on such machines."""
    is_rented: bool = False
    """Whether the machine costs by the hour."""

    @property
    def gpu_hours(self) -> float | None:
        """Expected hours of GPUs, None without GPUs or an estimate."""
        known = self.duration is not None and self.hosts.gpus and self.hosts.ranks is not None
        return self.duration.expected * self.hosts.ranks / 3600 if known else None


@dataclass
class RunQuote:
    """A run: a line that says what it is, and its stages; what it shares with others is with the first by name."""

    name: str
    path: str
    """Its file."""
    title: str
    quotes: list[Quote]
    memory: str = "error"
    """What a stage that cannot fit is: error or warn."""
    budget: float | None = None
    """The most US dollars that the run may be expected to cost."""

    @property
    def dollars(self) -> float:
        """Expected US dollars of the stages whose price and time are known."""
        return sum(quote.dollars or 0 for quote in self.quotes)


@dataclass
class Quotation:
    """All runs with something to do, and what reuse saves."""

    runs: list[RunQuote]
    others: int
    """Stages to do that are not quoted: data, tokenizers, models, rewards without a model, reports."""
    reused: int
    saved_seconds: float
    saved_recorded: int
    """Stages up to date; the seconds of those whose execution is recorded, and how many these are."""

    @property
    def quotes(self) -> list[Quote]:
        """The quotes of all runs."""
        return [quote for run in self.runs for quote in run.quotes]

    def misfits(self) -> Iterator[tuple[RunQuote, Quote]]:
        """Yield the stages whose peak is more than their cards have."""
        for run in self.runs:
            yield from ((run, quote) for quote in run.quotes if quote.fit is not None and not quote.fit.fits)


@dataclass(frozen=True)
class Cluster:
    """What is known of a cluster's nodes: which GPUs (a key of `instance_types.GPUS`), and what one costs an hour."""

    gpu: str | None = None
    usd_per_gpu_hour: float | None = None


NO_CLUSTER = Cluster()


def quotation(ledger: Ledger, region: str | None = None, cluster: Cluster = NO_CLUSTER) -> Quotation:
    """Quote all stages that would run or follow, at the prices of a region; None: of the only one that is known.

    Raises HeirloomError for a file of prices that is wrong.
    """
    to_do = [name for name in ledger.to_do() if ledger.verdicts[name].action in (Action.RUN, Action.FOLLOW)]
    by_run: dict[str, list[Stage]] = {}
    for name in to_do:
        stage = ledger.graph.stages[name]
        if is_quoted(stage, ledger.project):
            by_run.setdefault(stage.run, []).append(stage)
    quoting = Quoting(ledger, read_prices(region) if by_run else Prices(region, {}), cluster)
    runs = [quoting.run(ledger.project.runs[name], stages) for name, stages in by_run.items()]
    current = ledger.current()
    saved = [
        row["record"]["seconds"]
        for row in ledger.history.rows.values()
        if row["record"] and row["stage"] in current and current[row["stage"]].get("outs") == row["outs"]
    ]
    quoted = sum(map(len, by_run.values()))
    return Quotation(runs, len(to_do) - quoted, len(current), sum(saved), len(saved))


class Quoting:
    """Quotes runs one after the other; what several ask for is looked up once."""

    def __init__(self, ledger: Ledger, prices: Prices, cluster: Cluster) -> None:
        self.ledger = ledger
        self.prices = prices
        self.cluster = cluster
        self.spot_shares = spot_shares() if prices.of_types else {}
        """Of this clone's own jobs, where the history has none on spot capacity."""
        self.project: Project = ledger.project
        self.shapes: dict[tuple[str, bool], tuple[ModelShape, int] | str] = {}
        self.rows: dict[tuple[str, int], Any] = {}
        self.learned = Learned(ledger.history.rows.values() if ledger.to_do() else ())
        self.sizes = Sizes(ledger, self.shape_of, self.rows_of_dataset)

    def run(self, run: Run, stages: list[Stage]) -> RunQuote:
        """Quote the stages of a run."""
        shape = self.shape_of(run)
        rows = self.rows_of(run, shape)
        quotes = [self.stage(run, stage, shape, rows) for stage in stages]
        text = title(run, shape, rows, quotes)
        return RunQuote(run.name, str(run.path), text, quotes, run.plan.memory, run.plan.budget)

    def shape_of(self, run: Run) -> tuple[ModelShape, int] | str:
        """Return the shape of a run's model and the bytes of its saved weights, or why they are not known."""
        kind = (self.project.root_model(run.name), is_reward_model(run.name, self.project.runs))
        if kind not in self.shapes:
            self.shapes[kind] = shape_and_dtype(run, self.project)
        return self.shapes[kind]

    def rows_of(self, run: Run, shape: tuple[ModelShape, int] | str) -> Any:
        """Return the training rows of a run's dataset, or why they are not known."""
        return "no dataset" if run.dataset is None else self.rows_of_dataset(run.dataset, shape)

    def rows_of_dataset(self, name: str, shape: tuple[ModelShape, int] | str) -> Any:
        """Return the training rows of a dataset, or why they are not known."""
        vocabulary = 0 if isinstance(shape, str) else shape[0].vocabulary
        key = name, vocabulary
        if key not in self.rows:
            self.rows[key] = rows_of(name, self.project, vocabulary, self.is_processed(name))
        return self.rows[key]

    def is_processed(self, name: str) -> bool:
        """Whether a processed dataset is up to date, so that its counts hold."""
        verdict = self.ledger.verdicts.get(f"process-{name}")
        return verdict is not None and verdict.action is Action.CURRENT

    def stage(self, run: Run, stage: Stage, shape: tuple[ModelShape, int] | str, rows: Any) -> Quote:
        """Quote one stage."""
        found = hosts(machines_of(stage, run), self.cluster.gpu)
        quote = Quote(stage, found, self.ledger.verdicts[stage.name].reasons)
        quote.is_rented = found.is_instance or (found.gpus and self.cluster.usd_per_gpu_hour is not None)
        if isinstance(shape, str):
            quote.unknown.append(shape)
        kept: Kept | None = NOTHING_KEPT
        if stage.kind == "train":
            kept = self.training(run, quote, shape, rows)
        elif not isinstance(shape, str):
            self.memory_of_answers(run, quote, shape)
        if kept is not None:
            quote.storage = storage(stage, found, lambda path: self.sizes.of(path, run), kept)
        if quote.duration is None:
            quote.duration = self.recorded(stage, quote, None)
        if quote.duration is None and stage.kind != "train":
            self.answering(run, quote, shape)
        if quote.is_rented:
            self.price(quote)
        return quote

    def memory_of_answers(self, run: Run, quote: Quote, shape: tuple[ModelShape, int]) -> None:
        """Add what answers or scores take of the cards and of main memory; an engine that shares it is not told."""
        found, passes = quote.hosts, [rows for rows, _ in self.passes(run, quote.stage, shape)]
        if not passes:
            return  # no model runs
        rows = max(passes, key=lambda rows: UNKNOWN_LENGTH if isinstance(rows, str) else rows.longest)
        if found.instance is not None:
            quote.fit = answering_fit(run, quote.stage.kind, *shape, found, rows)
        engine = run.generation.engine if quote.stage.kind in ("generate", "baseline") else "accelerate"
        if found.ranks is not None and engine in ("accelerate", "continuous"):
            length = UNKNOWN_LENGTH if isinstance(rows, str) else rows.longest
            needed = answering_host(shape[0], found.ranks // found.count, found.gpus, shape[1], length)
            quote.host_memory = HostMemory(needed, self.memory_of_machine(run, quote))

    def memory_of_machine(self, run: Run, quote: Quote) -> float | None:
        """Return the main memory of a stage's machine, None where it is not known."""
        return machine_memory(quote.hosts.name, machines_of(quote.stage, run).mem_mb)

    def price(self, quote: Quote) -> None:
        """Add what a stage is expected to cost."""
        name = quote.hosts.name
        if not quote.hosts.is_instance:
            quote.dollars = None if quote.gpu_hours is None else quote.gpu_hours * self.cluster.usd_per_gpu_hour
        elif name not in self.prices.of_types:
            of_region = f" in {self.prices.region}" if self.prices.region else ""
            quote.unknown.append(f"price unknown of {name}{of_region}: `make prices REGION=…` asks AWS for it")
        elif quote.duration is not None:
            billed = max(quote.duration.expected - self.learned.wait(name), 0.0)
            quote.dollars = self.prices.dollars(name, quote.hosts.count, billed)
            own = self.learned.spot_share(name) or self.spot_shares.get(name)
            quote.spot = self.prices.spot_of(quote.dollars, own)

    def training(self, run: Run, quote: Quote, shape: tuple[ModelShape, int] | str, rows: Any) -> Kept | None:
        """Add the steps, the memory and the time of a training; return what it keeps for resuming, None if unknown."""
        keys = {
            "per_device_train_batch_size": run.training.per_device_train_batch_size,
            "global_batch_size": run.training.global_batch_size,
            **run.training.passed_through,
        }
        if quote.hosts.ranks is None:
            quote.unknown.append(f"how many GPUs {quote.hosts.name} has is not known here")
        if isinstance(rows, str):
            quote.unknown.append(rows)
        else:
            trained, attended = self.rows_as_trained(run, rows)
        if isinstance(rows, str) or quote.hosts.ranks is None:
            if (limit := keys.get("max_steps", -1)) > 0:
                quote.steps = Steps(limit, None, 0, exact=False, limited=True)
        elif TRAINERS[run.trainer].rewarded:
            quote.steps = steps_of_answers(
                rows, keys, argument(run, "num_generations"), argument(run, "num_iterations")
            )
        else:
            quote.steps = steps_of(trained, keys, quote.hosts.ranks)
        quote.at_most = run.training.early_stopping_patience is not None
        quote.duration = self.recorded(quote.stage, quote, quote.steps)
        longest = longest_as_trained(run, self.project) if isinstance(rows, str) else trained.longest
        if isinstance(shape, str) or longest is None or quote.hosts.ranks is None:
            return None
        named = [path for path in quote.stage.inputs.get("reward_models", ()) if path.startswith("checkpoints/")]
        judges = sum(self.sizes.of(path, run) or 0.0 for path in named)
        setup = training_setup(run, *shape, quote.hosts.ranks, longest, reward_models=judges)
        steps = quote.steps or Steps(None, None, 0, exact=False)
        kept = kept_for_resuming(run, setup, steps.steps)
        if kept is None:
            quote.unknown.append("how many checkpoints it keeps is not known before its rows are counted")
        merges = run.peft is not None and not run.writes_adapter
        here = quote.hosts.ranks // quote.hosts.count
        needed = training_host(setup, max(here, 1), quote.hosts.gpus, shape[1], merges)
        quote.host_memory = HostMemory(needed, self.memory_of_machine(run, quote))
        instance = quote.hosts.instance
        if instance is None:
            if quote.hosts.gpus:
                quote.unknown.append(
                    f"which GPUs a {quote.hosts.name} has: `config: [gpu=A100-80GB]` in the cluster's profile says it"
                )
            return kept
        flops = shape[0].flops(setup.adapter, setup.reference_pass)
        if not isinstance(rows, str):
            attended, note = attended_tokens(run, instance.card, trained, attended, flops, shape[1])
            if note is not None:
                quote.notes.append(f"{quote.stage.name}: {note}")
        quote.fit = fit_of(setup, instance)
        if not quote.fit.fits or quote.fit.tight:
            batch = run.training.per_device_train_batch_size
            quote.remedy = cheapest_change(setup, batch, quote.hosts, Path())
        if quote.duration is None and TRAINERS[run.trainer].rewarded:
            quote.unknown.append("how long it takes to draw its answers is not known before it has run")
        elif quote.duration is None and not steps.tokens:
            if not isinstance(rows, str):  # or that said it
                quote.unknown.append("how long it takes is not known before its rows are counted")
        elif quote.duration is None:
            own = self.learned.utilization(quote.hosts.name)
            found = from_operations(flops, steps.tokens, attended, instance.card, quote.hosts.ranks, own)
            quote.duration = found and self.started(found, quote.hosts)
            if found is None:
                quote.unknown.append(f"the peak of {instance.card} is not in heirloom/estimates/model_flops.py")
        return kept

    def rows_as_trained(self, run: Run, rows: Rows) -> tuple[Rows, float]:
        """Return the rows as a training takes them, counted where they are packed already; and what attends to each."""
        trained, attended = trained_rows(run, self.project, rows)
        packed = packed_rows(run)
        stage = packed and self.ledger.verdicts.get(f"pack-{Path(packed).name}")
        counts = counted(Path(counts_of_packed(packed))) if stage and stage.action is Action.CURRENT else None
        if counts is None:
            return trained, attended
        return Rows(counts["rows_out"], counts["tokens"], counts["longest_row"], exact=True), attended

    def answering(self, run: Run, quote: Quote, shape: tuple[ModelShape, int] | str) -> None:
        """Add the time of answers or of scores that were never made on such machines."""
        if isinstance(shape, str) or quote.hosts.instance is None or quote.hosts.ranks is None:
            return
        found = Duration(0, 0, 0, "a job's start: no metric runs a model")
        for rows, count in self.passes(run, quote.stage, shape):
            if count is None:
                quote.unknown.append(f"how many rows {quote.stage.name} reads is not known before they are here")
                return
            took = first_time(run, quote.stage.kind, shape, quote.hosts, rows, count)
            if took is None:
                quote.unknown.append(f"how long {quote.stage.name} takes is not known before it has run")
                return
            found = took.plus((found.low, found.expected, found.high))
        quote.duration = self.started(found, quote.hosts)

    def passes(self, run: Run, stage: Stage, shape: tuple[ModelShape, int]) -> list[tuple[Any, int | None]]:
        """Return rows and how many of them a model goes through, for each pass of a stage of answers or scores."""
        if stage.kind == "reference":
            rows = self.rows_of_dataset(run.dataset, shape)
            counts = self.held_out(run.dataset, rows), None if isinstance(rows, str) else rows.rows
            return [(rows, None if None in counts else sum(counts))]
        if stage.kind == "rewards":
            rows = self.rows_of_dataset(run.dataset, shape)
            answers = len(KINDS) * (TRIED if isinstance(rows, str) else min(TRIED, rows.rows))
            return [(rows, answers)] * len(run.training.reward_models)
        found = []
        if stage.kind in ("evaluate", "scores"):
            for path in chain.from_iterable(stage.inputs.get(name, ()) for name in ("dataset", "preferences")):
                rows = self.rows_of_dataset(Path(path).name, shape)
                found.append((rows, self.held_out(Path(path).name, rows)))
            if "reward_model" not in stage.inputs:
                return found
        name = run.prompts_dataset
        rows = "a file" if name is None else self.rows_of_dataset(name, shape)
        held_out = self.held_out(name, rows) if name is not None else None
        return [*found, (rows, prompts_of(run.generation, held_out))]

    def started(self, duration: Duration, found: Hosts) -> Duration:
        """Return a duration with the start of a job before it: as own jobs on such machines began, else as assumed."""
        return duration.plus(self.learned.start(found.name) or START_UP) if found.is_instance else duration

    def held_out(self, name: str, rows: Any) -> int | None:
        """Return how many rows a dataset holds out."""
        return held_out_rows(name, self.project, rows, self.is_processed(name))

    def recorded(self, stage: Stage, quote: Quote, steps: Steps | None) -> Duration | None:
        """Return the time of a stage's last execution with as many ranks on the same kind of device, else None.

        A training's is that of its tokens, or of its steps where tokens are not known; a job's start comes before it.
        """
        found = self.learned.last.get(stage.name)
        if found is None or not found.was_on(quote.hosts.gpus, quote.hosts.ranks):
            return None
        quote.last = found
        now, before = {}, {}
        if steps is not None:
            now = {"tokens": steps.tokens, "steps": steps.steps}
            before = trained(Path("metrics/training") / f"{stage.subject}.json")
        return self.started(found.duration(now, before), quote.hosts)


def trained(file: Path) -> dict[str, int]:
    """Return the steps and tokens of the training that lies here, as far as its metrics have them."""
    train = (json_object(file) or {}).get("train")
    found = train if isinstance(train, dict) else {}
    return {key: found[key] for key in ("steps", "tokens") if type(found.get(key)) is int and found[key] > 0}


def title(run: Run, shape: tuple[ModelShape, int] | str, rows: Any, quotes: list[Quote]) -> str:
    """Return what a run is: parameters, all and trained, tokens an epoch, global batch."""
    parts = []
    if not isinstance(shape, str):
        trained = (
            "all trained" if run.peft is None else f"{shape[0].adapter(run.peft.r, run.peft.target_names):,} trained"
        )
        parts.append(f"{shape[0].parameters:,} parameters" + (f", {trained}" if run.trainer else ""))
    steps = next((quote.steps for quote in quotes if quote.steps is not None), None)
    if steps is not None and steps.tokens_an_epoch:
        parts.append(f"{'' if steps.exact else '≈ '}{steps.tokens_an_epoch:,} tokens an epoch")
    if run.training is not None and run.trainer is not None:
        spec = TRAINERS[run.trainer]
        unit = "pairs" if spec.takes_pairs else "answers" if spec.rewarded else "sequences"
        parts.append(f"{run.training.global_batch_size} {unit} a step")
    return " · ".join(parts)
