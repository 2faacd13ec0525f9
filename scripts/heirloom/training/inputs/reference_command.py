"""The command line of the stage in which a reference scores the rows of later trainings.

No single run's file decides what is computed, so that the keys stand in the command itself.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from transformers import HfArgumentParser

from heirloom.artifacts import destination
from heirloom.config.before_training.reference_scores import WITH_REFERENCE
from heirloom.config.parsing.section_in_command import section_in_command
from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.quantization import QuantizationSection
from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.dpo import DPO
from heirloom.config.trainers.kto import KTO
from heirloom.distributed import world_size
from heirloom.errors import HeirloomError
from heirloom.training.inputs.training_command import TrainingCommand, existing_deepspeed_file


@dataclass
class ReferenceArguments:
    """What is scored by what, and the keys of runs that decide the numbers."""

    trainer: str = field(metadata={"help": f"{' or '.join(WITH_REFERENCE)}: who reads the scores"})
    dataset: Path = field(metadata={"help": "folder of a processed dataset"})
    base: Path = field(metadata={"help": "folder of a model or a checkpoint, with its tokenizer"})
    output: Path = field(metadata={"help": "folder for the scores"})
    training: str = field(default="{}", metadata={"help": "keys of `training:` that decide the scores, as JSON"})
    quantization: str | None = field(default=None, metadata={"help": "a section `quantization:`, as JSON"})
    beneath_adapter: bool = field(
        default=False, metadata={"help": "the trainings hold this base below an adapter, in the type that it has"}
    )
    deepspeed: Path | None = field(default=None, metadata={"help": "file of DeepSpeed's settings"})
    trust_remote_code: bool = field(default=False, metadata={"help": "run code that came with the base; read it first"})
    portable: bool = field(default=False, metadata={"help": "the same bytes on every x86-64 processor with AVX2"})


def read_reference_command(description: str | None) -> TrainingCommand:
    """Parse the command line into what a training with this reference would load it by, its batch that of one pass.

    Raises HeirloomError for a trainer without a reference and for what is wrong in a section.
    """
    parser = HfArgumentParser(
        ReferenceArguments,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    (given,) = parser.parse_args_into_dataclasses()
    if given.trainer not in WITH_REFERENCE:
        raise HeirloomError(f"--trainer {given.trainer}: has no reference; expected {' or '.join(WITH_REFERENCE)}")
    keys = section_in_command("--training", given.training, ScoredSection)
    return TrainingCommand(
        trainer={"dpo": DPO, "kto": KTO}[given.trainer],
        dataset=given.dataset,
        base=given.base,
        deepspeed=existing_deepspeed_file(str(given.deepspeed) if given.deepspeed else None),
        output=destination(given.output),
        metrics=None,
        loss=None,
        training=keys.model_copy(
            update={
                "global_batch_size": keys.per_device_train_batch_size * world_size(),
                "trust_remote_code": given.trust_remote_code,
            }
        ),
        peft=PeftSection() if given.beneath_adapter else None,
        quantization=section_in_command("--quantization", given.quantization, QuantizationSection)
        if given.quantization is not None
        else None,
        tracking=TrackingSection(),
        resources=ResourcesSection(),
        portable=given.portable,
    )


class ScoredSection(TrainingSection):
    """`training:` as far as it decides what a reference gives; nothing is trained, so no step has a batch."""

    global_batch_size: int = 1
