"""From a run's config to what the estimates ask: its model's shape, its machines, its rows, its training's setup.

Reads config/ and what lies here already (a model's config.json, the counts of a processed dataset); neither torch nor
a network. What cannot be known is a sentence in place of a number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heirloom.config.arguments.instance_types import CPU_RANKS, GPUS, INSTANCES, Instance, ranks
from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.before_training.reference_scores import reads_reference_scores
from heirloom.config.dataset import Dataset
from heirloom.config.keys.training_keys import has_reference
from heirloom.config.model import Model
from heirloom.config.project import Project
from heirloom.config.reward_models import is_reward_model
from heirloom.config.run import Run
from heirloom.config.sections.resources import Machines
from heirloom.config.trainers.table import TRAINERS
from heirloom.errors import HeirloomError
from heirloom.estimates.deepspeed_settings import deepspeed_settings
from heirloom.estimates.model_flops import ModelFlops
from heirloom.estimates.model_shape import ModelShape, model_shape
from heirloom.estimates.steps import Rows, from_bytes, joined, packed
from heirloom.estimates.training_memory import DOUBLE_QUANTIZED, EIGHT_BITS, FOUR_BITS, TrainingSetup
from heirloom.json_files import read_json

LOSSES = {
    **dict.fromkeys(("sft", "dpo", "kto", "grpo", "rloo"), "tiled"),
    "orpo": "pairs",
    "reward": "number",
}
"""Trainers whose scores are not those of transformers' own loss."""
OLD_CARDS = ("K80", "P100", "V100", "T4")
"""Cards older than Ampere, for which torch's flash attention has no kernels; how their names begin."""
WHOLE = ("eager", "sdpa")
"""Attention that computes a packed row as one rectangle."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Hosts:
    """The machines of a stage; `instance` is None for machines whose cards are not known, `ranks` likewise."""

    name: str
    count: int
    ranks: int | None
    instance: Instance | None = None
    gpus: bool = False

    @property
    def is_instance(self) -> bool:
        """Whether it is an instance of SageMaker, rather than a cluster's node or this machine."""
        return self.name.startswith("ml.")

    @property
    def text(self) -> str:
        """Machine × count, as people read it."""
        return f"{self.count} × {self.name}" if self.count > 1 else self.name


def hosts(machines: Machines, gpu: str | None = None) -> Hosts:
    """Return the machines that a section `resources:` names; none: this one, of which nothing is known.

    `gpu`: what a cluster's nodes have, a key of `instance_types.GPUS`.
    """
    count = machines.instance_count or 1
    if machines.instance_type is not None:
        instance = INSTANCES.get(machines.instance_type.removeprefix("ml."))
        number = ranks(machines.instance_type, machines.instance_count)
        return Hosts(machines.instance_type, count, number, instance, gpus=instance is not None or number is None)
    if machines.gpus_per_node:
        nodes = machines.nodes or 1
        number = machines.gpus_per_node
        node = GPUS[gpu]._replace(gpus=number) if gpu else None
        return Hosts(f"node with {number} × {gpu or 'GPU'}", nodes, nodes * number, node, gpus=True)
    return Hosts("here", 1, CPU_RANKS)


def config_of(model: Model, root: Path = Path()) -> dict[str, Any] | str:
    """Return the keys of a model's config.json: of the model that is here, else as its file in config/ has them."""
    file = root / "models" / model.name / "config.json"
    found = json_object(file)
    if found is not None:
        return found
    if model.init is not None:
        vocabulary = {"vocab_size": model.tokenizer.vocab_size} if model.tokenizer is not None else {}
        own = {"model_type": model.init.model_type, "dtype": model.init.dtype}
        return {**vocabulary, **own, **model.init.passed_through}
    if model.shape is not None:
        return model.shape.model_dump()
    return f"the sizes of {model.name} are not known before it is here: config/models/{model.name}.yaml has no `shape:`"


def shape_and_dtype(run: Run, project: Project, root: Path = Path()) -> tuple[ModelShape, int] | str:
    """Return the shape of a run's model and the bytes of its saved weights, or why they are not known."""
    config = config_of(project.models[project.root_model(run.name)], root)
    if isinstance(config, str):
        return config
    shape = model_shape(config)
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    if isinstance(shape, str):
        return shape
    return replace(shape, scores=is_reward_model(run.name, project.runs)), BYTES.get(str(dtype), 4)


def parts_of(dataset: Dataset, project: Project) -> Iterator[Dataset]:
    """Yield the datasets that a dataset is made of: itself, or those of a mixture."""
    if dataset.mixture is None:
        yield dataset
    for name in dataset.mixture.datasets if dataset.mixture is not None else ():
        yield from parts_of(project.datasets[name], project)


def longest_row(dataset: Dataset, project: Project) -> int | None:
    """Return the most tokens that a row can have; None where nothing says it."""
    limits = [part.processing.max_length for part in parts_of(dataset, project) if part.processing is not None]
    return max(limits, default=None)


def rows_of(name: str, project: Project, vocabulary: int, current: bool, root: Path = Path()) -> Rows | str:
    """Return the training rows of a dataset: counted where it is processed and `current`, else from its raw bytes."""
    dataset = project.datasets[name]
    limit = longest_row(dataset, project)
    counts = counted(root / "metrics" / "data" / f"{name}.json") if current else None
    if counts is not None:
        return Rows(counts["rows_out"], counts["tokens"], counts["longest_row"], exact=True)
    if limit is None:
        return f"how long the rows of {name} are is not known before they are here"
    generated = [part.source.rows for part in parts_of(dataset, project) if part.source and part.source.generator]
    if generated and dataset.mixture is None and not dataset.processing.packed:
        return Rows(generated[0], generated[0] * limit, limit, exact=False)
    raw = [raw_bytes(part, root) for part in parts_of(dataset, project)]
    if any(size is None for size in raw):
        return f"the rows of {name} are not counted before they are here"
    cut = dataset.processing is not None and dataset.processing.packed
    return from_bytes(sum(filter(None, raw)), vocabulary, limit, cut)


def longest_as_trained(run: Run, project: Project) -> int | None:
    """Return the most tokens of a row that a training takes, before any row is here; None where nothing says it."""
    if run.training.seq_length is not None:
        return run.training.seq_length
    return longest_row(project.datasets[run.dataset], project)


def trained_rows(run: Run, project: Project, rows: Rows) -> tuple[Rows, float]:
    """Return the rows as a training of the run takes them: joined or packed where its file says so, pairs split by KTO.

    The number beside them is how many tokens attend to each other: documents that are packed stay apart.
    """
    training = run.training
    if rows.rows and "labelled" in TRAINERS[run.trainer].row_kinds and project.kind(run.dataset) == "preference":
        rows = replace(rows, rows=2 * rows.rows, exact=False)  # each of a pair's answers is a row; prompts count once
    apart = rows.tokens / rows.rows if rows.rows else rows.longest
    if training.passed_through.get("packing") is True:
        length = longest_as_trained(run, project) or rows.longest
        return packed(rows, length, argument(run, "packing_strategy")), min(apart, length)
    if training.seq_length is None:
        return rows, apart
    return joined(rows, training.seq_length), training.seq_length


def reason_for_whole_rows(run: Run, card: str, saved: int) -> str | None:
    """Return why a training computes packed rows whole on such a card; None where it does not, or packs none.

    `saved`: bytes of a saved weight of its base.
    """
    arguments, asked = run.training.passed_through, run.training.attn_implementation
    if True not in (arguments.get("packing"), arguments.get("padding_free")):
        return None
    if asked is not None:
        return f"attn_implementation: {asked} does" if asked in WHOLE else None
    if card.startswith(OLD_CARDS):
        return f"a {card} is older than torch's kernel of variable length"
    dtype = run.training.default_dtype
    # a base of 16 bits is trained whole in 32 where nothing mixes the two (heirloom/training/inputs/base_models.py)
    narrow = saved == BYTES["bfloat16"] and run.peft is not None if dtype == "auto" else BYTES[dtype] == 2
    if True not in (arguments.get("bf16"), arguments.get("fp16")) and not narrow:
        return "torch's kernel of variable length has 16-bit floats alone (bf16: true)"
    return None


def attended_tokens(
    run: Run, card: str, rows: Rows, apart: float, flops: ModelFlops, saved: int
) -> tuple[float, str | None]:
    """Return how many tokens attend to each other in a training's rows, and a sentence where that costs more.

    `apart`: how many do where documents stay apart; `rows` as the training takes them (`trained_rows`). Where
    they are computed whole, those of a forward pass are one row: TRL joins them.
    """
    reason = reason_for_whole_rows(run, card, saved)
    if reason is None or not rows.rows:
        return apart, None
    whole = rows.tokens / rows.rows * run.training.per_device_train_batch_size
    more = flops.per_token(whole) / flops.per_token(apart) - 1
    return whole, (
        f"attention computes packed rows whole, {whole:,.0f} tokens and not the {apart:,.0f} of a document "
        f"({more:.0%} more operations): {reason}"
    )


def held_out_rows(name: str, project: Project, rows: Rows | str, current: bool, root: Path = Path()) -> int | None:
    """Return how many rows a dataset holds out: counted where it is processed, else as its file says; None unknown."""
    dataset = project.datasets[name]
    counts = counted(root / "metrics" / "data" / f"{name}.json", "test") if current else None
    if counts is not None:
        return counts["rows_out"]
    known = [held_out_of(part, rows if dataset.mixture is None else "") for part in parts_of(dataset, project)]
    return None if None in known else sum(known)


def held_out_of(dataset: Dataset, rows: Rows | str) -> int | None:
    """Return how many rows a dataset's file holds out; None where only its rows tell it."""
    section = dataset.processing
    if section is not None and section.test_rows is not None:
        return section.test_rows
    if section is not None and section.test_fraction is not None:
        if isinstance(rows, str) or rows.rows is None:
            return None
        return round(rows.rows * section.test_fraction)
    return dataset.source.test_rows if dataset.source is not None else None


def counted(file: Path, split: str = "train") -> dict[str, Any] | None:
    """Return what the stage `process` counted of a split; None where nobody of us wrote it."""
    counts = (json_object(file) or {}).get(split)
    if not isinstance(counts, dict):
        return None
    numbers = [counts.get(key) for key in ("rows_out", "tokens", "longest_row")]
    return counts if all(type(number) is int and number > 0 for number in numbers) else None


def json_object(file: Path) -> dict[str, Any] | None:
    """Return the object in a file; None without one, or where it holds something else."""
    if not file.is_file():
        return None
    try:
        found = read_json(file)
    except HeirloomError:
        return None
    return found if isinstance(found, dict) else None


def raw_bytes(dataset: Dataset, root: Path) -> int | None:
    """Return the bytes of raw rows that are here; None where they are not."""
    source = dataset.source
    places = [root / "data" / "raw" / dataset.name]
    if source is not None and source.path is not None:
        places.append(root / source.path)
    for place in places:
        if place.is_file():
            return place.stat().st_size
        if place.is_dir():
            return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return None


def training_setup(
    run: Run,
    shape: ModelShape,
    saved: int,
    ranks: int,
    longest: int,
    root: Path = Path(),
    reward_models: float = 0.0,
) -> TrainingSetup:
    """Return what decides the memory of a run's training; `saved`: bytes of a saved weight of its base;
    `reward_models`: bytes of those that its rewards name.

    Precision follows heirloom/training/inputs/base_models.py (`trained_dtype`) and DeepSpeed, which computes in 16 bits
    with weights of 16 bits beside 32-bit ones in the optimizer.
    """
    training, arguments = run.training, run.training.passed_through
    file = root / "config" / "deepspeed" / f"{run.deepspeed}.json" if run.deepspeed else None
    settings = deepspeed_settings(file, shape.hidden)
    mixed = arguments.get("bf16") is True or arguments.get("fp16") is True
    loaded = saved if training.default_dtype == "auto" else BYTES[training.default_dtype]
    if run.peft is None and loaded == 2 and training.default_dtype == "auto" and not (settings.stage and mixed):
        loaded = 4
    by_deepspeed = settings.present and mixed
    adapter, adapted = None, 0
    if run.peft is not None:
        names = run.peft.target_names
        adapter = shape.adapter(run.peft.r, names)
        adapted = sum(names is None or name in names for name in shape.projections)
    quantized = None
    if run.quantization is not None:
        double = run.quantization.bnb_4bit_use_double_quant
        quantized = EIGHT_BITS if run.quantization.load_in_8bit else DOUBLE_QUANTIZED if double else FOUR_BITS
    spec = TRAINERS[run.trainer]
    length = longest + (argument(run, "max_completion_length") if spec.rewarded else 0)
    asked = has_reference(spec, arguments) and not reads_reference_scores(spec, training, run.peft)
    return TrainingSetup(
        shape=shape,
        settings=settings,
        ranks=ranks,
        tokens=training.per_device_train_batch_size * length * (2 if spec.takes_pairs else 1),
        d=2 if by_deepspeed else loaded,
        computed=2 if mixed else loaded,
        checkpointing=any(arguments.get(key) is True for key in ("gradient_checkpointing", "activation_checkpointing")),
        adapter=adapter,
        rank=run.peft.r if run.peft is not None else 0,
        adapted=adapted,
        quantized=quantized,
        loss=LOSSES.get(run.trainer, "whole"),
        reference=run.peft is None and asked,
        reference_pass=asked,
        answers=training.global_batch_size // ranks if spec.rewarded else 0,
        answer_tokens=length if spec.rewarded else 0,
        reward_models=reward_models,
    )


def argument(run: Run, key: str) -> Any:
    """Return a key of a run's `training:` that goes to a library, or its default there."""
    return run.training.passed_through.get(key, argument_schemas(run.trainer)[key]["default"])
