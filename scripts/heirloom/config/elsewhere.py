"""A key that its section does not have may stand in another one: say in which, before a name that looks like it."""

from heirloom.config.arguments.former_names import FORMER_NAMES
from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.parsing.section import Section
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.processing import ProcessingSection
from heirloom.config.sections.quantization import QuantizationSection
from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.table import TRAINERS

SECTIONS: dict[str, type[Section]] = {
    "training": TrainingSection,
    "peft": PeftSection,
    "quantization": QuantizationSection,
    "tracking": TrackingSection,
    "resources": ResourcesSection,
    "generation": GenerationSection,
}
"""The sections of a run whose keys can be flags; where two have a key of the same name, the first is meant."""


def elsewhere(section: str, key: str) -> str | None:
    """Return what to write instead of a key that `section` ("" for the top of a run's file) does not have.

    None when no other place knows it.
    """
    if key in FORMER_NAMES:
        return FORMER_NAMES[key]
    for name, model in SECTIONS.items():
        if name != section and key in model.model_fields:
            return f"did you mean {name}.{key}?"
    trainers = [name for name in TRAINERS if key in argument_schemas(name)]
    if trainers:
        return (
            f"it is a key of trainer: {' or '.join(trainers)}"
            if section == "training"
            else (f"did you mean training.{key}?")
        )
    if section != "generation" and key in argument_schemas("generation_config"):
        return f"did you mean generation.{key}?"
    if key in ProcessingSection.model_fields:
        return f"set processing.{key} in the dataset's file"
    return None
