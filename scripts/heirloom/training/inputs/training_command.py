"""The command line that all training scripts share.

In a stage it names the run's file, the sections that count, and every path. By hand the file is enough: paths follow
from the names in it, and any key of its sections can be overridden by a flag of its name (heirloom/config/flags.py):

    torchrun --nproc-per-node 2 scripts/dpo_train.py --config config/demo/runs/demo-dpo.yaml --learning_rate 2e-5
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from heirloom.artifacts import destination
from heirloom.config.before_training.packing import packing_strategy
from heirloom.config.before_training.reference_scores import WITH_REFERENCE
from heirloom.config.before_training.tried_rewards import check_tried
from heirloom.config.parsing.flags_by_hand import run_with_flags
from heirloom.config.parsing.reading import read_yaml, validated_section
from heirloom.config.parsing.section import Section
from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.quantization import QuantizationSection
from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.errors import HeirloomError
from heirloom.stage_arguments import reward_model_folders

BY_FLAG: dict[str, type[Section]] = {
    "training": TrainingSection,
    "peft": PeftSection,
    "quantization": QuantizationSection,
    "tracking": TrackingSection,
    "resources": ResourcesSection,
}
"""Sections whose keys can be flags, the first one that knows a key before the others."""


@dataclass
class ScriptArguments:
    """What a training script reads and writes. A path that is not given follows from the names in the run's file."""

    config: Path = field(metadata={"help": "the run's file, e.g. config/demo/runs/demo-sft.yaml"})
    sections: str | None = field(
        default=None, metadata={"help": "its sections that are part of the identity, a,b; absent: those that it has"}
    )
    dataset: Path | None = field(
        default=None, metadata={"help": "folder of a processed dataset; absent: data/processed/ and its name"}
    )
    base: Path | None = field(
        default=None,
        metadata={"help": "folder of a model or a checkpoint, with its tokenizer; absent: the one of its name"},
    )
    output: Path | None = field(
        default=None, metadata={"help": "folder of the checkpoint to write; absent: checkpoints/NAME.by-hand"}
    )
    metrics: Path | None = field(default=None, metadata={"help": "JSON file of metrics to write"})
    loss: Path | None = field(default=None, metadata={"help": "CSV file of losses by step to write"})
    completions: Path | None = field(
        default=None,
        metadata={"help": "JSONL file of answers on the way to write, with their rewards (grpo, rloo)"},
    )
    deepspeed: Path | None = field(
        default=None, metadata={"help": "file of DeepSpeed's settings; absent: the one that the run's file names"}
    )
    reference_scores: Path | None = field(
        default=None,
        metadata={"help": "folder of scripts/score_reference.py (dpo, kto); absent: scored in each step"},
    )
    packed_rows: Path | None = field(
        default=None,
        metadata={
            "help": "folder of scripts/pack_dataset.py; absent: rows are packed or joined as the training starts"
        },
    )
    reward_models: list[str] | None = field(
        default=None,
        metadata={"help": "RUN=FOLDER of each reward model in training.rewards; absent: checkpoints/ and its name"},
    )
    tried_rewards: Path | None = field(
        default=None,
        metadata={"help": "JSON file of scripts/try_rewards.py (grpo, rloo); absent: the training tries its rewards"},
    )
    trust_remote_code: bool | None = field(
        default=None, metadata={"help": "run code that came with the base; absent: as the run's file says"}
    )
    portable: bool | None = field(
        default=None,
        metadata={"help": "the same bytes on every x86-64 processor with AVX2; absent: as the run's file says"},
    )


@dataclass(frozen=True)
class TrainingCommand:
    """What to train with: paths from the command line, settings from the run's file."""

    trainer: TrainerSpec
    dataset: Path
    base: Path
    deepspeed: Path | None
    output: Path
    metrics: Path | None
    loss: Path | None
    training: TrainingSection
    peft: PeftSection | None
    quantization: QuantizationSection | None
    tracking: TrackingSection
    resources: ResourcesSection
    generation: Section | None = None
    """With training.predict_with_generate: how held-out prompts are answered."""
    portable: bool = False
    reference_scores: Path | None = None
    """What the reference gives the rows; None where it is computed in each step, or there is none."""
    packed_rows: Path | None = None
    """The rows packed or joined already; None where the training does that, or takes them as they are."""
    reward_models: dict[str, Path] = field(default_factory=dict)
    """Run → the checkpoint of the reward model that `training.rewards` names."""
    tried_rewards: Path | None = None
    """What told that the rewards are worth training on; None where the training tries them itself."""
    completions: Path | None = None
    """Where some of the answers that it learned from are written; None: nowhere."""


def read_command(
    description: str | None,
    trainer: TrainerSpec,
    kind: type[TrainingArguments],
    *,
    generation: type[Section] | None = None,
) -> TrainingCommand:
    """Parse the command line and read the run's file; flags are ScriptArguments, `kind`'s and our own keys'.

    `kind` is the class that the trainer's entry names. `generation`: the model of the section `generation:`, from a
    trainer that generates; given by the script, so that an edit of it makes no other trainer's result stale.
    Raises HeirloomError for what the file or the command line has wrong, among it a section that these trainers do
    not know: it would have no effect.
    """
    assert kind.__name__ == trainer.arguments_class.rpartition(".")[2], f"{trainer.name}: its entry names another class"
    assert trainer.generates == (generation is not None), f"{trainer.name}: its entry says otherwise"
    script, flags = parse_flags(description, kind)
    if flags:
        owners = (*BY_FLAG, *(("generation",) if trainer.generates else ()))
        run = run_with_flags(script.config, flags, owners, trainer.name)
    else:
        run = read_yaml(script.config)
    if not isinstance(run, dict):
        raise HeirloomError(f"{script.config}: must hold keys and values, as the files in config/runs/ do")
    deepspeed = existing_deepspeed_file(str(script.deepspeed) if script.deepspeed else from_name(run, "deepspeed"))
    trusted = run.get("trust_remote_code") if script.trust_remote_code is None else script.trust_remote_code
    if trusted is not None:  # of the whole run: every stage that loads its model goes by it
        run["training"] = {**(run.get("training") or {}), "trust_remote_code": trusted}
    portable = run.get("portable", False) if script.portable is None else script.portable
    known = trainer.sections(predicts=(run.get("training") or {}).get("predict_with_generate") is True)
    generates = "generation" in known
    sections = script.sections.split(",") if script.sections else [name for name in known if name in run]
    unknown = [name for name in sections if name not in known]
    if unknown:
        raise HeirloomError(f"{script.config}: this trainer has no use for {', '.join(unknown)}: delete that section")
    if generates and "generation" not in sections:
        raise HeirloomError(
            f"{script.config}: training.predict_with_generate needs the section `generation:`, which says how prompts "
            "are answered: add it (and name it in --sections), or delete predict_with_generate"
        )

    def section(name: str, model: type, *, required: bool = False) -> Any:
        return validated_section(run, script.config, name, model, required=required)

    training = section("training", TrainingSection, required=True)
    check_reference(script, trainer, training)
    if script.packed_rows is not None and packing_strategy(trainer, training) is None:
        raise HeirloomError(f"{script.config}: takes rows as they are, so --packed_rows has no effect; leave it out")
    for flag in ("completions", "tried_rewards"):
        if getattr(script, flag) is not None and not trainer.rewarded:
            raise HeirloomError(f"--{flag}: trainer: {trainer.name} draws no answers to learn from; leave it out")
    dataset = script.dataset or named_folder(script, run, "dataset", "data/processed")
    if script.tried_rewards is not None:
        check_tried(script.tried_rewards, trainer, training, dataset.name)
    return TrainingCommand(
        trainer=trainer,
        dataset=dataset,
        base=script.base or named_folder(script, run, "base", "models", "checkpoints"),
        deepspeed=deepspeed,
        output=destination(script.output or Path("checkpoints") / f"{script.config.stem}.by-hand"),
        metrics=script.metrics and destination(script.metrics),
        loss=script.loss and destination(script.loss),
        training=training,
        peft=section("peft", PeftSection) if "peft" in sections else None,
        quantization=section("quantization", QuantizationSection) if "quantization" in sections else None,
        tracking=section("tracking", TrackingSection),
        resources=section("resources", ResourcesSection),
        generation=section("generation", generation, required=True) if generates else None,
        portable=portable is True,
        reference_scores=script.reference_scores,
        packed_rows=script.packed_rows,
        reward_models=reward_model_folders(script.reward_models, training.reward_models),
        tried_rewards=script.tried_rewards,
        completions=script.completions and destination(script.completions),
    )


def check_reference(script: ScriptArguments, trainer: TrainerSpec, training: TrainingSection) -> None:
    """Raise HeirloomError for scores of a reference that this trainer has not, or that the run wants and has not."""
    if script.reference_scores is not None and trainer.name not in WITH_REFERENCE:
        raise HeirloomError(f"--reference_scores: trainer: {trainer.name} has no reference; leave it out")
    if script.reference_scores is not None and training.reference == "inline":
        raise HeirloomError(
            f"{script.config}: training.reference: inline computes what --reference_scores gives; leave one of them out"
        )
    if script.reference_scores is None and training.reference == "scores":
        raise HeirloomError(
            f"{script.config}: training.reference: scores needs --reference_scores, a folder that "
            "scripts/score_reference.py makes; or set reference: inline"
        )


def parse_flags(description: str | None, kind: type[TrainingArguments]) -> tuple[ScriptArguments, list[str]]:
    """Return the script's own arguments, and the words of the command line that are left: flags for the run's keys."""
    parser = HfArgumentParser(
        ScriptArguments,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if {"-h", "--help"} & {*sys.argv[1:]}:
        list_keys(parser, kind)
    script, flags = parser.parse_args_into_dataclasses(return_remaining_strings=True)
    return script, flags


def list_keys(parser: HfArgumentParser, kind: type[TrainingArguments]) -> None:
    """Add the keys of the sections, and those of `kind`, to what --help shows."""
    taken = {*ScriptArguments.__dataclass_fields__}
    for name, section in BY_FLAG.items():
        group = parser.add_argument_group(f"keys of `{name}:`, as in the run's file")
        for key, about in section.model_fields.items():
            if key not in taken:
                taken.add(key)
                group.add_argument(f"--{key}", help=(about.description or "").replace("%", "%%"))
    group = parser.add_argument_group(f"keys of `training:` that go to {kind.__name__}; what is refused is told")
    for key in kind.__dataclass_fields__:
        if key not in taken:
            group.add_argument(f"--{key}")


def from_name(run: dict[str, Any], key: str) -> str | None:
    """Return the path of the file that the run's `deepspeed:` names."""
    return f"config/deepspeed/{run[key]}.json" if run.get(key) else None


def existing_deepspeed_file(path: str | None) -> Path | None:
    if path is not None and not Path(path).is_file():
        raise HeirloomError(f"{path}: there is no such DeepSpeed configuration; see config/deepspeed/")
    return Path(path) if path is not None else None


def named_folder(script: ScriptArguments, run: dict[str, Any], key: str, *places: str) -> Path:
    """Return the artifact that the run's `dataset:` or `base:` names, in the first of `places` that has it."""
    if key not in run:
        raise HeirloomError(f"{script.config}: has no `{key}:`; add it, or give the folder by --{key}")
    folders = [Path(place) / run[key] for place in places]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise HeirloomError(
            f"{script.config}: {key}: there is no {' or '.join(map(str, folders))}: make it with "
            f"`snakemake --config runs={script.config.stem}`, or give another folder by --{key}"
        )
    return found
