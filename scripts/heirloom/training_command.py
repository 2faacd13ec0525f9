"""The command line that all training scripts share."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from heirloom.config.reading import read_section
from heirloom.config.resources import ResourcesSection
from heirloom.config.tracking import TrackingSection
from heirloom.config.training import TrainingSection
from heirloom.errors import HeirloomError

SECTIONS = ("training",)
"""Sections of a run's file that are part of a training's identity; `tracking` and `resources` are not, and read too."""


@dataclass(frozen=True)
class TrainingCommand:
    """What to train with: paths from the command line, settings from the run's file."""

    dataset: Path
    base: Path
    deepspeed: Path | None
    output: Path
    metrics: Path | None
    loss: Path | None
    training: TrainingSection
    tracking: TrackingSection
    resources: ResourcesSection


def read_command(description: str | None) -> TrainingCommand:
    """Parse the command line and read the run's file.

    Raises HeirloomError for a section that these trainers do not know: it would have no effect.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a file of config/runs/")
    parser.add_argument("--sections", default="training", help="its sections that are part of the identity, a,b")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of a processed dataset")
    parser.add_argument(
        "--base", type=Path, required=True, help="folder of a model or a checkpoint, with its tokenizer"
    )
    parser.add_argument("--deepspeed", type=Path, help="file of a DeepSpeed configuration; without it: data parallel")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint to write")
    parser.add_argument("--metrics", type=Path, help="JSON file of metrics to write")
    parser.add_argument("--loss", type=Path, help="CSV file of losses by step to write")
    args = parser.parse_args()

    unknown = [name for name in args.sections.split(",") if name not in SECTIONS]
    if unknown:
        raise HeirloomError(f"{args.config}: this trainer has no use for {', '.join(unknown)}: delete that section")
    if args.deepspeed and not args.deepspeed.is_file():
        raise HeirloomError(f"{args.deepspeed}: there is no such DeepSpeed configuration; see config/deepspeed/")
    return TrainingCommand(
        dataset=args.dataset,
        base=args.base,
        deepspeed=args.deepspeed,
        output=args.output,
        metrics=args.metrics,
        loss=args.loss,
        training=read_section(args.config, "training", TrainingSection),
        tracking=read_section(args.config, "tracking", TrackingSection, required=False),
        resources=read_section(args.config, "resources", ResourcesSection, required=False),
    )
