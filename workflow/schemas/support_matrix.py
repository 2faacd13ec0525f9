"""What combines with what, as the checks of the configuration say: the tables of docs/methods.md.

Every choice alone, and every pair of choices, is written as a run into a project in a temporary folder, for each
trainer; the project is then loaded as `snakemake` does. What is refused stands in the tables with the reason. What only
the machine can tell when a training starts is asked of the functions that the training asks, where they need no torch.
"""

import itertools
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from from_trainers import table

from heirloom.config.arguments.attention import KNOWN, without_gpu
from heirloom.config.parsing.mistakes import ConfigErrors
from heirloom.config.project import load_project
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.processing import PROCESSING_FUNCTIONS
from heirloom.config.trainers.table import TRAINERS
from heirloom.offloading import nvme_folders

DEEPSPEED = Path(__file__).resolve().parents[2] / "config" / "deepspeed"
PART = re.compile(r"(<!-- (what combines|engine options) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)

Run = dict[str, Any]
"""A run's file: sections and plain keys."""


@dataclass(frozen=True)
class Choice:
    """One way to fill a dimension: what it adds to a run's file, and what only the first step may say of it."""

    text: str
    adds: str
    """JSON of keys and sections."""
    at_start: str | None = None

    def added_to(self, run: Run) -> Run:
        """Return the run with this choice."""
        more = json.loads(self.adds)
        return run | {
            key: run.get(key, {}) | value if isinstance(value, dict) else value for key, value in more.items()
        }


def choice(text: str, at_start: str | None = None, **adds: Any) -> Choice:
    return Choice(text, json.dumps(adds), at_start)


MIXES = "refused in the first step where the architecture looks from one packed document into the next"
LACKING = "refused when it starts where the model has no such weights"
LORA, EIGHT, FOUR = {"r": 8}, {"load_in_8bit": True}, {"load_in_4bit": True}


def dimensions() -> dict[str, list[Choice]]:
    """Return the choices of each dimension beside the plain one: rows as they are, all weights, no DeepSpeed, …"""
    return {
        "batches": [
            choice("`seq_length` alone", training={"seq_length": 64}),
            choice("`packing: true`", MIXES, training={"packing": True}),
            choice("`packing: true`, `seq_length`", MIXES, training={"packing": True, "seq_length": 64}),
            choice("`padding_free: true`", MIXES, training={"padding_free": True}),
        ],
        "weights": [
            choice("LoRA (`peft`)", peft=LORA),
            choice("LoRA of joined experts", LACKING, peft=LORA | {"target_parameters": ["experts.down_proj"]}),
            choice("8-bit base, LoRA", peft=LORA, quantization=EIGHT),
            choice("4-bit base, LoRA", peft=LORA, quantization=FOUR),
            choice("8-bit base without LoRA", quantization=EIGHT),
            choice("4-bit base without LoRA", quantization=FOUR),
        ],
        "DeepSpeed": [
            choice(f"`deepspeed: {file.stem}`", drive(file), deepspeed=file.stem)
            for file in sorted(DEEPSPEED.glob("*.json"))
        ],
        "attention": [
            choice(f"`attn_implementation: {name}`", gpu(name), training={"attn_implementation": name})
            for name in KNOWN
        ],
    }


def drive(file: Path) -> str | None:
    """Return what a training wants that offloads to a drive."""
    folders = sorted({str(folder) for folder in nvme_folders(file)})
    return (
        f"refused when it starts without the drive {', '.join(folders)} and DeepSpeed's async_io" if folders else None
    )


def gpu(attention: str) -> str | None:
    """Return what a training says of attention on a machine without a GPU."""
    problem = without_gpu(attention)
    return f"on a machine without a GPU refused when it starts: {problem.replace(attention, '…')}" if problem else None


# ---- asking the checks ----


def refusals(runs: dict[str, Run]) -> dict[str, list[str]]:
    """Return for each run what the checks of the whole configuration refuse in it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files: dict[str, Run] = {f"runs/{name}": run for name, run in runs.items()}
        files["models/base"] = {"source": {"path": "config"}}
        for kind, function in kinds().items():
            processing = {"processing_function": function, "max_length": 64}
            files[f"datasets/{kind}"] = {"tokenizer": "base", "source": {"path": "config"}, "processing": processing}
        for name, content in files.items():
            file = root / "config" / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content), encoding="utf-8")
        (root / "config" / "deepspeed").symlink_to(DEEPSPEED)
        (root / "prompts.jsonl").touch()
        found: dict[str, list[str]] = {name: [] for name in runs}
        try:
            load_project(root, None)
        except ConfigErrors as errors:
            for mistake in errors.mistakes:
                place, name = mistake.file.removeprefix("config/").removesuffix(".yaml").split("/")
                assert place == "runs", f"{mistake}"
                found[name].append(f"`{mistake.key}` {general(mistake.problem)}")
    return found


def general(problem: str) -> str:
    """Return a reason in the words that all columns of a table share, and without the list of what would be right."""
    problem = re.sub(r"^\S+ (\(\S+ )?[\d.]+\)? has no such key; .*", "is no key of this trainer's arguments", problem)
    return re.sub(r"with engine: \w+", "with this engine", problem)


def kinds() -> dict[str, str]:
    """Return a processing function for each kind of rows."""
    return {kind: function for function, kind in reversed(PROCESSING_FUNCTIONS.items())}


def plain_run(trainer: str) -> Run:
    """Return a run of a trainer, on the kind of rows that it is for, without anything special."""
    rows = TRAINERS[trainer].row_kinds[0]
    rewards = {"rewards": [{"function": "exact_match"}]} if TRAINERS[trainer].rewarded else {}
    training = {"global_batch_size": 16} | rewards
    return {"base": "base", "dataset": rows, "trainer": trainer, "training": training}


# ---- the tables ----


class Notes:
    """Footnotes by their text, numbered as they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def cell(self, refused: Iterable[str], at_start: str | None) -> str:
        """Return a table's cell: whether the checks take it, with the numbers of what is to be said."""
        said = [*refused] or ([at_start] if at_start else [])
        numbers = ", ".join(str(self.numbers.setdefault(text, len(self.numbers) + 1)) for text in said)
        return " ".join(filter(None, ["–" if [*refused] else "✓", f"({numbers})" if numbers else ""]))

    def lines(self) -> list[str]:
        """Return the footnotes as a numbered list."""
        return [f"{number}. {text}" for text, number in self.numbers.items()]


def matrix(groups: dict[str, list[Choice]]) -> str:
    """Return what can be asked of each trainer, and what cannot be asked together, for groups of choices."""
    plain = {name: plain_run(name) for name in TRAINERS}
    alone = {
        (trainer, one): one.added_to(run)
        for trainer, run in plain.items()
        for group in groups.values()
        for one in group
    }
    pairs = {
        (trainer, one, two): two.added_to(one.added_to(run))
        for trainer, run in plain.items()
        for first, second in itertools.combinations(groups.values(), 2)
        for one, two in itertools.product(first, second)
    }
    asked = {**alone, **pairs}
    names = {key: f"run-{number}" for number, key in enumerate(asked)}
    said = refusals({names[key]: run for key, run in asked.items()})
    refused = {key: said[name] for key, name in names.items()}

    notes = Notes()
    rows = [
        [one.text, *(notes.cell(refused[trainer, one], one.at_start) for trainer in plain)]
        for group in groups.values()
        for one in group
    ]
    together: dict[str, list[str]] = defaultdict(list)
    for trainer, one, two in pairs:
        for reason in refused[trainer, one, two]:
            if reason not in refused[trainer, one] + refused[trainer, two]:
                together[f"{one.text} with {two.text}: {reason}"].append(trainer)
    head = ("", *(f"`{trainer}`" for trainer in plain))
    reasons = "for what refuses one of the two and for" + (":" if together else " no other reason.")
    return "\n".join(
        [
            table(head, rows),
            *notes.lines(),
            "",
            f"Asked of the checks: {len(asked)} runs, for every trainer each row alone and each pair of rows of two",
            f"groups ({', '.join(groups)}). A pair is refused {reasons}",
            *(f"- {text} ({', '.join(named)})" for text, named in together.items()),
            "",
        ]
    )


def engines() -> str:
    """Return what can be asked of each engine of `generation`."""
    names = GenerationSection.model_json_schema()["properties"]["engine"]["enum"]
    asked: list[tuple[str, Run]] = [
        ("greedy", {}),
        ("`do_sample: true`", {"do_sample": True}),
        ("`num_return_sequences: 2`, `do_sample: true`", {"do_sample": True, "num_return_sequences": 2}),
        ("`num_beams: 2`", {"num_beams": 2}),
        ("`repetition_penalty: 1.1`", {"repetition_penalty": 1.1}),
        ("`test_batch_size: 4`", {"test_batch_size": 4}),
        ("`max_length: 64`", {"max_length": 64}),
        ('`eos_tokens: "."`', {"eos_tokens": "."}),
        ("`prompts_file`", {"prompts_file": "prompts.jsonl"}),
        ("`output_format: parquet`", {"output_format": "parquet"}),
        ("`cpu_offload: true`", {"cpu_offload": True}),
        ("`nvme_path`", {"nvme_path": "nvme"}),
        ("`replace_with_kernel_inject: true`", {"replace_with_kernel_inject": True}),
    ]
    runs = {
        f"run-{row}-{engine}": {"base": "base", "dataset": "chat", "generation": {"engine": engine, **keys}}
        for row, (_, keys) in enumerate(asked)
        for engine in names
    }
    said = refusals(runs)
    notes = Notes()
    rows = [
        [text, *(notes.cell(said[f"run-{row}-{engine}"], None) for engine in names)]
        for row, (text, _) in enumerate(asked)
    ]
    return "\n".join([table(("", *(f"`{name}`" for name in names)), rows), *notes.lines(), ""])


def with_matrices(document: str) -> str:
    """Return a document with what stands between `<!-- what combines -->`, or `engine options`, and its end renewed."""
    parts: dict[str, Callable[[], str]] = {"what combines": lambda: matrix(dimensions()), "engine options": engines}
    return PART.sub(lambda match: match[1] + parts[match[2]]() + match[3], document)
