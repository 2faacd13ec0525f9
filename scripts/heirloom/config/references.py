"""Check what the files of config/ say about each other and about other files."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from heirloom.config.arguments.instance_types import ranks, slow_network
from heirloom.config.arguments.optimizers import former_optimizer_warning, zero_problem
from heirloom.config.dataset import Dataset
from heirloom.config.files import Files
from heirloom.config.keys.benchmarks import PUNKT, benchmark_problems
from heirloom.config.linked_files import (
    chat_template_problem,
    deepspeed_problem,
    how_to_share,
    pointer_of,
    user_function_problem,
)
from heirloom.config.model import Model
from heirloom.config.parsing.mistakes import did_you_mean, nested_keys
from heirloom.config.reward_models import named_reward_models, reward_model_problems, scoring_problems
from heirloom.config.run import Run
from heirloom.config.sections.gates import CHANGE, Gate, gates_of, harness_problems, score_problems
from heirloom.config.sections.resources import Machines
from heirloom.config.sections.source import DatasetSource
from heirloom.config.trainers.table import TRAINERS
from heirloom.config.vllm_runs import vllm_problems

Problem = tuple[str, tuple[str | int, ...], str]
"""The file, the nested keys, the sentence."""

FIELDS_OF_KIND = {"text": "text", "chat": "conversations", "preference": "prompt, chosen and rejected"}
FIELDS_OF_KIND |= {"seq2seq": "source and target", "labelled": "prompt, completion and label"}


class References:
    """The questions that need more than one file; `problems` and `warnings` give the answers."""

    def __init__(self, files: Files):
        self.files = files
        self.root = files.root
        self.deepspeed_files: dict[str, str | None] = {}
        self.templates: dict[str, str | None] = {}

    def problems(self) -> Iterator[Problem]:
        """Yield every mistake in what the files say about each other and about other files."""
        yield from self.shared_names()
        for dataset in self.files.datasets.values():
            yield from self.dataset_problems(dataset)
        for model in self.files.models.values():
            yield from self.model_problems(model)
        for run in self.files.runs.values():
            yield from self.run_problems(run)

    def warnings(self) -> Iterator[Problem]:
        """Yield what is allowed but may surprise: sources that can change, machines that are not known."""
        for file in (*self.files.datasets.values(), *self.files.models.values()):
            if file.source is not None and not file.source.pinned:
                key = "revision" if file.source.revision is not None else "hub"
                found = "without a revision it" if key == "hub" else f"revision {file.source.revision}"
                yield (
                    file.path,
                    ("source", key),
                    f"{found} can change under you; pin the commit: `make pin` writes it, the 40 hex digits that the "
                    f"hub shows under Files and versions → History of {file.source.hub}",
                )
        for run in self.files.runs.values():
            former = run.training and former_optimizer_warning(run.training.passed_through.get("optim"))
            if former:
                yield run.path, ("training", "optim"), former
            machines = run.resources
            if machines is None or run.training is None:
                continue
            for name in machines.instance_types:
                if slow := slow_network(name, machines.instance_count, machines.efa):
                    yield run.path, ("resources", "instance_count"), slow
                if ranks(name, machines.instance_count) is None:
                    yield (
                        run.path,
                        ("resources", "instance_type"),
                        f"the number of GPUs of {name} is not known here, so global_batch_size is checked only when "
                        "training starts",
                    )

    # ---- names ----

    def shared_names(self) -> Iterator[Problem]:
        """Yield the runs whose name is also a model's."""
        for name in self.files.runs.keys() & self.files.models.keys():
            problem = f"there is also {self.files.models[name].path}, and `base: {name}` could mean either; rename one"
            yield self.files.runs[name].path, (), problem

    def unknown_dataset(self, name: str | None) -> str | None:
        """Return what is wrong with the name of a processed dataset; None when there is one or none is named."""
        if name in self.files.datasets and self.files.datasets[name].is_raw:
            return (
                f"{name} has no `processing:`, so its rows stay raw, for `lm_eval:` alone; name another, or give it "
                "`tokenizer:` and `processing:`"
            )
        if name is None or name in self.files.datasets:
            return None
        return f"there is no config/datasets/{name}.yaml; {did_you_mean(name, self.files.datasets)}"

    def unknown_model(self, name: str | None) -> str | None:
        """Return what is wrong with the name of a model; None when there is one or none is named."""
        if name is None or name in self.files.models:
            return None
        return f"there is no config/models/{name}.yaml; {did_you_mean(name, self.files.models)}"

    # ---- what follows from names ----

    def kind(self, name: str | None, seen: tuple[str, ...] = ()) -> str | None:
        """Return the kind of a dataset's rows; None when a mistake elsewhere hides it."""
        dataset = self.files.datasets.get(name or "")
        if dataset is None or name in seen:
            return None
        if dataset.mixture is not None:
            kinds = (self.kind(part, (*seen, dataset.name)) for part in dataset.mixture.datasets)
            return next(filter(None, kinds), None)
        return dataset.rows_kind

    def root_model(self, run: Run) -> str | None:
        """Return the model at the beginning of a run's chain; None when a mistake elsewhere hides it."""
        seen = set()
        while run.name not in seen:
            seen.add(run.name)
            if run.base in self.files.models:
                return run.base
            if run.base not in self.files.runs:
                return None
            run = self.files.runs[run.base]
        return None

    def circle(self, run: Run) -> list[str]:
        """Return the runs of the circle that `run` stands on, from it to it; nothing when it stands on none."""
        chain = [run.name]
        while run.base in self.files.runs:
            chain.append(run.base)
            if run.base in chain[:-1]:
                return chain if chain[0] == chain[-1] else []
            run = self.files.runs[run.base]
        return []

    def mixture_circle(self, name: str, chain: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the datasets of a circle of mixtures from `name` to itself; nothing when there is none."""
        if chain and name == chain[0]:
            return (*chain, name)
        dataset = self.files.datasets.get(name)
        if dataset is None or dataset.mixture is None or name in chain:
            return ()
        circles = (self.mixture_circle(part, (*chain, name)) for part in dataset.mixture.datasets)
        return next(filter(None, circles), ())

    # ---- datasets and models ----

    def dataset_problems(self, dataset: Dataset) -> Iterator[Problem]:
        """Yield what is wrong with the names and paths in a dataset's file."""
        if problem := self.unknown_model(dataset.tokenizer):
            yield dataset.path, ("tokenizer",), problem
        if dataset.source is not None:
            key = "path" if dataset.source.path is not None else "processed"
            yield from self.missing_file(dataset, ("source", key), dataset.source.local)
        if dataset.processing is not None:
            yield from self.template_problems(dataset, "processing", dataset.processing.chat_template)
            if dataset.processing.user_function is not None:
                problem = user_function_problem(self.root, *dataset.processing.user_function)
                if problem:
                    yield dataset.path, ("processing", "processing_function"), problem
        if dataset.mixture is not None:
            yield from self.mixture_problems(dataset)

    def mixture_problems(self, dataset: Dataset) -> Iterator[Problem]:
        """Yield the parts of a mixture that are unknown or do not go together."""
        kind = self.kind(dataset.name)
        circle = self.mixture_circle(dataset.name)
        if circle and dataset.name == min(circle):
            yield (
                dataset.path,
                ("mixture", "datasets"),
                f"mixtures in a circle: {' → '.join(circle)}; break it",
            )
        for name in dataset.mixture.datasets:
            keys = ("mixture", "datasets", name)
            if problem := self.unknown_dataset(name):
                yield dataset.path, keys, problem
                continue
            tokenizer = self.files.datasets[name].tokenizer
            if tokenizer is not None and dataset.tokenizer is not None and tokenizer != dataset.tokenizer:
                yield (
                    dataset.path,
                    keys,
                    f"{name} has the tokenizer of {tokenizer} and the mixture that of {dataset.tokenizer}, whose token "
                    "ids mean something else; give all the same `tokenizer:`",
                )
            part = self.kind(name)
            if part is not None and kind is not None and part != kind:
                yield dataset.path, keys, f"has {part} rows and the others have {kind} rows; mix one kind only"

    def model_problems(self, model: Model) -> Iterator[Problem]:
        """Yield what is wrong with the names and paths in a model's file."""
        if model.source is not None:
            yield from self.missing_file(model, ("source", "path"), model.source.path)
        if model.tokenizer is not None:
            yield from self.template_problems(model, "tokenizer", model.tokenizer.chat_template)
            name = model.tokenizer.train_on
            problem = self.unknown_dataset(name)
            if not problem and name is not None and self.files.datasets[name].given("mixture"):
                problem = f"{name} is a mixture and has no raw text; name one of the datasets in it"
            elif not problem and name is not None and self.files.datasets[name].is_processed_already:
                problem = f"{name} is processed already and has no raw text; name another dataset"
            elif (
                not problem
                and name is not None
                and (kind := self.kind_by_built_in_function(name)) not in ("text", None)
            ):
                problem = (
                    f"{name} has {kind} rows ({FIELDS_OF_KIND[kind]}), and a tokenizer is trained on the `text` of raw "
                    "rows; name a dataset of plain text"
                )
            if problem:
                yield model.path, ("tokenizer", "train_on"), problem

    def kind_by_built_in_function(self, name: str) -> str | None:
        """Return the kind of rows that raw ones are made into as they stand; a user's function may read any column."""
        processing = self.files.datasets[name].processing
        return processing.rows_kind if processing is not None and processing.user_function is None else None

    def template_problems(self, file: Any, section: str, path: str | None) -> Iterator[Problem]:
        """Yield what is wrong with the chat template that a section names."""
        keys = (section, "chat_template")
        missing = list(self.missing_file(file, keys, path))
        yield from missing
        if path is not None and not missing:
            if path not in self.templates:
                self.templates[path] = chat_template_problem(self.root, path)
            if problem := self.templates[path]:
                yield file.path, keys, problem

    def missing_file(self, file: Any, keys: tuple[str, ...], path: str | None) -> Iterator[Problem]:
        """Yield a path that does not exist."""
        if path is None:
            return
        place = self.root / path
        if not place.exists():
            pointer = pointer_of(place)
            remedy = "put it there or mend it"
            if keys[0] == "source":
                remedy += f"; whoever has it shares it by {how_to_share(path)}"
            if pointer is not None:
                remedy = f"`make pull` brings what {pointer.relative_to(self.root)} names"
            problem = f"there is no {path} (paths are relative to the repository's root); {remedy}"
            yield file.path, keys, problem
        elif not (place.is_file() or place.is_dir()):
            yield file.path, keys, f"{path} is neither a file nor a folder; name the data itself"
        elif self.root.resolve().is_relative_to(place.resolve()):
            yield file.path, keys, f"{path} holds the repository itself; name the data alone"

    # ---- runs ----

    def run_problems(self, run: Run) -> Iterator[Problem]:
        """Yield what is wrong with a run's base, datasets and hardware."""
        for problems in (
            self.base_problems,
            self.adapter_problems,
            self.data_problems,
            self.comparison_problems,
            self.reward_problems,
            self.vllm_problems,
            self.gate_problems,
            self.hardware_problems,
        ):
            yield from ((run.path, keys, problem) for keys, problem in problems(run))
        if run.lm_eval is not None:
            yield from self.missing_file(run, ("lm_eval", "include_path"), run.lm_eval.include_path)
            nltk_data = run.lm_eval.nltk_data
            yield from self.missing_file(run, ("lm_eval", "nltk_data"), nltk_data and f"{nltk_data}/{PUNKT}")
            sources = {name: self.source_of(name) for name in run.lm_eval.datasets or ()}
            yield from ((run.path, keys, problem) for keys, problem in benchmark_problems(run.lm_eval, sources))
            base = self.files.runs.get(run.base)
            if run.lm_eval.base and (base is None or base.lm_eval is None or base.lm_eval.asked != run.lm_eval.asked):
                yield (
                    run.path,
                    ("lm_eval", "base"),
                    "needs a base that is a run with the same tasks and settings in its `lm_eval:`, which scores it "
                    f"once for all runs on it; give {run.base} that section, or name a run of it without `trainer:`",
                )

    def source_of(self, name: str) -> DatasetSource | str | None:
        """Return where a dataset's rows come from: None when a mistake hides it, a sentence when there is none."""
        if name not in self.files.datasets:
            return f"there is no config/datasets/{name}.yaml; {did_you_mean(name, self.files.datasets)}"
        return self.files.datasets[name].source

    def base_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield a base that is unknown, disabled, or leads back to the run."""
        if run.base is None:
            return
        if run.base not in self.files.models and run.base not in self.files.runs:
            known = {**self.files.models, **self.files.runs}
            yield ("base",), f"there is no model and no run {run.base}; {did_you_mean(run.base, known)}"
        circle = self.circle(run)
        if circle and run.name == min(circle):
            yield ("base",), f"the runs go round in a circle: {' → '.join(circle)}; one must stand on a model"
        base = self.files.runs.get(run.base)
        if base is not None and run.enabled and base.enabled is False:
            yield (
                ("base",),
                f"the run {base.name} has `enabled: false`, and its checkpoint is needed; enable it too",
            )

    def adapter_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what keeps a run's adapter from being one with those that it is trained on."""
        below = self.adapters_below(run) if run.writes_adapter else []
        if not below:
            return
        remedy = f"set peft.merge: true here or in {below[0].name}"
        beyond_joining = {"use_dora": "no sum of matrices", "target_parameters": "no update of a layer"}
        for key, why in beyond_joining.items():
            if owners := [each.name for each in (run, *below) if getattr(each.peft, key)]:
                problem = f"{owners[0]} has {key}, which is {why}, so no one adapter holds it and another; {remedy}"
                yield ("peft",), problem
        whole = {name for each in below for name in each.peft.modules_to_save}
        adapted = {name for each in below for name in each.peft.target_names or ()}
        if both := sorted((whole & {*(run.peft.target_names or ())}) | (adapted & {*run.peft.modules_to_save})):
            yield (
                ("peft",),
                f"{', '.join(both)} is trained whole here or in what the run stands on, and by an adapter in the "
                f"other, which no one adapter holds; {remedy}",
            )

    def adapters_below(self, run: Run) -> list[Run]:
        """Return the runs whose adapters a run stands on, the nearest first, down to the first whole model."""
        found: list[Run] = []
        while (base := self.files.runs.get(run.base)) is not None and base is not run and base not in found:
            if base.trainer is not None and not base.writes_adapter:
                break
            found.append(base)
            run = base
        return [each for each in found if each.writes_adapter]

    def data_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield datasets that are unknown, of another tokenizer, or of a kind that the run cannot use."""
        named = {("dataset",): run.dataset}
        named |= {
            (key, "dataset"): section.dataset
            for key, section in (("generation", run.generation), ("evaluation", run.evaluation))
            if section is not None
        }
        if run.evaluation is not None:
            named["evaluation", "preference_dataset"] = run.evaluation.preference_dataset
        root = self.root_model(run)
        for keys, name in named.items():
            if problem := self.unknown_dataset(name):
                yield keys, problem
            elif name is not None:
                tokenizer = self.files.datasets[name].tokenizer
                if root is not None and tokenizer in self.files.models and tokenizer != root:
                    yield (
                        keys,
                        f"{name} is tokenized for the model {tokenizer}, and this run stands on {root}; use a dataset "
                        f"with `tokenizer: {root}`",
                    )
        kind = self.kind(run.dataset)
        kinds = TRAINERS[run.trainer].row_kinds if run.trainer is not None else ()
        if kinds and kind is not None and kind not in kinds:
            yield (
                ("dataset",),
                f"trainer {run.trainer} learns from {' or '.join(kinds)} rows ({FIELDS_OF_KIND[kinds[0]]}), and "
                f"{run.dataset} has {kind} rows; choose another dataset or trainer",
            )
        if run.training is not None and run.training.compares_states and self.holds_nothing_out(run.dataset):
            key = "load_best_model_at_end" if run.training.load_best_model_at_end else "early_stopping_patience"
            yield (
                ("training", key),
                f"compares measurements of held-out rows, and {run.dataset} has none; set processing.test_rows or "
                "test_fraction in its file, of a mixture in those of its parts, or delete the key",
            )
        yield from self.scoring_problems(run)

    def holds_nothing_out(self, name: str | None, seen: tuple[str, ...] = ()) -> bool:
        """Say whether a dataset is known to have no held-out rows before it is made; what comes from afar may have."""
        dataset = self.files.datasets.get(name or "")
        if dataset is None or name in seen:
            return False
        if dataset.mixture is not None:
            return all(self.holds_nothing_out(part, (*seen, dataset.name)) for part in dataset.mixture.datasets)
        processing, source = dataset.processing, dataset.source
        if source is None or processing is None or processing.holds_out:
            return False
        if source.generator is not None:
            return source.test_rows is None
        return source.path is not None and (self.root / source.path).is_file()

    def scoring_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield generation and evaluation stages that have no rows to work on."""
        if run.generation is not None and run.generation.prompts_file is not None:
            file = run.generation.prompts_file
            if not (self.root / file).is_file():
                yield ("generation", "prompts_file"), f"there is no {file}; put it there or mend the name"
        elif run.generation is not None:
            name = run.generation.dataset or run.dataset
            if name is None and run.trainer is None and not run.given("dataset"):
                yield ("generation",), "has no prompts; give generation.dataset or dataset"
            elif self.kind(name) == "text":
                keys = ("generation", "dataset") if run.generation.dataset else ("generation",)
                problem = f"{name} has text rows, which hold no prompts; name a chat, preference or seq2seq dataset"
                yield keys, problem
        if run.evaluation is not None and "perplexity" in run.evaluation.metrics:
            name = run.evaluation.dataset or run.dataset
            if name is None and run.trainer is None and not run.given("dataset"):
                yield ("evaluation",), "perplexity has no rows; give evaluation.dataset or dataset"
            elif (kind := self.kind(name)) in ("preference", "labelled", "seq2seq"):
                keys = ("evaluation", "dataset") if run.evaluation.dataset else ("evaluation",)
                yield keys, f"perplexity is measured on text or chat rows, and {name} has {kind} rows; name another"
        if run.evaluation is not None and "preference" in run.evaluation.metrics:
            name = run.evaluation.preference_dataset or run.dataset
            keys = ("evaluation", "preference_dataset") if run.evaluation.preference_dataset else ("evaluation",)
            if name is None and run.trainer is None and not run.given("dataset"):
                yield keys, "preference has no pairs; give evaluation.preference_dataset or dataset"
            elif (kind := self.kind(name)) not in ("preference", None):
                yield (
                    keys,
                    f"preference is measured on pairs, and {name} has {kind} rows; let evaluation.preference_dataset "
                    "name a dataset with prompt, chosen and rejected",
                )

    def comparison_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the functions that scores name and that do not exist, and runs whose answers cannot be compared."""
        for index, reward in enumerate(run.training.rewards or () if run.training is not None else ()):
            if reward.function.count(":") == 1 and (
                problem := user_function_problem(self.root, *reward.function.split(":"))
            ):
                yield ("training", "rewards", index, "function"), problem
        if run.evaluation is None:
            return
        for key, name in run.evaluation.user_functions:
            problem = user_function_problem(self.root, *name.split(":"))
            if problem:
                yield ("evaluation", *nested_keys(key)), problem
        for index, name in enumerate(run.evaluation.against):
            if (problem := self.opponent_problem(run, name)) is not None:
                yield ("evaluation", "against", index), problem

    def vllm_problems(self, run: Run) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what vLLM cannot serve of a run that asks for it."""
        yield from vllm_problems(run, self.files.runs, self.files.models, {run.name: self.root_model(run)})

    def reward_problems(self, run: Run) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what is asked of a reward model that it cannot do, and reward models that cannot score the run."""
        runs = self.files.runs
        yield from reward_model_problems(run, runs)
        names = {run.name, *(name for _, name in named_reward_models(run))}
        yield from scoring_problems(run, runs, {name: self.root_model(runs[name]) for name in names & runs.keys()})

    def opponent_problem(self, run: Run, name: str) -> str | None:
        """Return why the answers of the run `name` cannot be compared with this run's; None when they can."""
        other = self.files.runs.get(name)
        if other is None:
            return f"there is no run {name}; {did_you_mean(name, self.files.runs.keys() - {run.name})}"
        if other is run:
            return f"{name} is this run itself; name another or delete it"
        if run.evaluation.against.count(name) > 1:
            return f"{name} is given twice; keep one"
        if run.enabled and other.enabled is False:
            return f"the run {name} has `enabled: false`, and its answers are needed; enable it too"
        if not other.given("generation"):
            return f"the run {name} has no `generation:`, and its answers are needed; add that to its file"
        if run.generation is None or other.generation is None:
            return None  # a mistake elsewhere hides it
        ours, theirs = prompts_text(run), prompts_text(other)
        if ours != theirs:
            return f"{name} answers the prompts of {theirs}, and this run those of {ours}; let both answer the same"
        return None

    def gate_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield gates that name a run which is not there, or has not their score on the same prompts."""
        for name, gate in gates_of(run.gates):
            if gate.than is not None and (problem := self.other_run_problem(run, gate)) is not None:
                yield ("gates", name), problem

    def other_run_problem(self, run: Run, gate: Gate) -> str | None:
        """Return why a gate cannot compare with the run that it names; None when it can."""
        other = self.files.runs.get(gate.than)
        if other is None:
            return f"there is no run {gate.than}; {did_you_mean(gate.than, self.files.runs.keys() - {run.name})}"
        if other is run:
            return f"{gate.than} is this run itself; write `not worse by` under {CHANGE}{gate.score} for its base"
        if run.enabled and other.enabled is False:
            return f"the run {gate.than} has `enabled: false`, and its scores are needed; enable it too"
        problems = harness_problems(gate, other.lm_eval) if gate.of_harness else score_problems(gate, other.evaluation)
        if problem := next(problems, None):
            return f"{gate.than}: {problem}"
        if run.generation is None or other.generation is None:
            return None
        if (ours := prompts_text(run)) != (theirs := prompts_text(other)):
            return (
                f"{gate.than} answers the prompts of {theirs}, and this run those of {ours}; let both answer the same"
            )
        return None

    def hardware_problems(self, run: Run) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield DeepSpeed files that are wrong and batches that the ranks cannot divide."""
        if run.deepspeed is not None and (problem := self.deepspeed_problem(run.deepspeed)):
            yield ("deepspeed",), problem
        elif run.deepspeed is not None and run.training is not None:
            file = self.root / "config" / "deepspeed" / f"{run.deepspeed}.json"
            if problem := zero_problem(run.training.passed_through.get("optim"), file):
                yield ("training", "optim"), problem
        if run.training is None or run.resources is None:
            return
        machines = run.resources.machines("training")
        each, total = run.training.per_device_train_batch_size, run.training.global_batch_size
        for place, count in places(machines).items():
            if count is None or total % (each * count) == 0:
                continue
            yield (
                ("training", "global_batch_size"),
                f"{total} is no multiple of {each * count} = per_device_train_batch_size {each} × {count} ranks "
                f"({place}); {batch_advice(total, each, count)}",
            )

    def deepspeed_problem(self, name: str) -> str | None:
        """Return what is wrong with config/deepspeed/NAME.json; each file is read once."""
        if name not in self.deepspeed_files:
            self.deepspeed_files[name] = deepspeed_problem(self.root, name)
        return self.deepspeed_files[name]


def prompts_text(run: Run) -> str:
    """Return in words which prompts a run answers."""
    place = run.prompts_dataset or run.generation.prompts_file
    return f"{place} (the first {run.generation.limit})" if run.generation.limit is not None else f"{place}"


def places(machines: Machines) -> dict[str, int | None]:
    """Return how many ranks train on each kind of machines that a run names, by their description.

    None where it is not known. A run may name SageMaker's and Slurm's; one that names none trains on two CPU ranks.
    """
    found = {}
    for name in machines.instance_types:
        found[f"{machines.instance_count or 1} × {name}"] = ranks(name, machines.instance_count)
    if machines.gpus_per_node:
        nodes = machines.nodes or 1
        found[f"{nodes} Slurm node{'s' * (nodes > 1)} × {machines.gpus_per_node} GPUs"] = nodes * machines.gpus_per_node
    return found or {"no resources.instance_type, so two CPU ranks are assumed": ranks(None, None)}


def batch_advice(total: int, each: int, count: int) -> str:
    """Return which numbers near the given ones divide."""
    step = each * count
    multiple = max(round(Fraction(total, step)), 1) * step
    advice = f"set global_batch_size to {multiple}"
    if total % count == 0:
        fitting = max(size for size in range(1, min(each, 10_000) + 1) if (total // count) % size == 0)
        advice += f" or per_device_train_batch_size to {fitting}"
    return advice
