"""Which trainings read what a reference gives their rows from a stage of its own, and which keys decide it."""

from typing import Any

from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.spec import TrainerSpec

WITH_REFERENCE = ("dpo", "kto")
"""Trainers that compare with the base as it was; those that learn from rewards do where `beta` is not 0."""
OF_THE_PASS = (
    *("bf16", "fp16", "tf32", "use_liger_kernel", "liger_kernel_config", "disable_dropout", "experts_implementation"),
    *("torch_compile", "torch_compile_backend", "torch_compile_mode", "precompute_ref_batch_size"),
)
"""Keys for the libraries that decide what a pass of the reference gives; no rate, loss, beta or number of steps."""
DEFAULT_SEED = 42
"""transformers' own, as training_arguments.DEFAULTS has it."""
OF_THE_MODEL = ("default_dtype", "attn_implementation", "deterministic", "pad_to_multiple_of")
"""The same of our own keys."""


def reads_reference_scores(trainer: TrainerSpec, training: TrainingSection, peft: PeftSection | None) -> bool:
    """Return whether a training reads the reference's log-probabilities, instead of computing them in each step.

    By itself it does where that needs a second model: with an adapter the reference is the model without it.
    """
    if trainer.name not in WITH_REFERENCE:
        return False
    return peft is None if training.reference is None else training.reference == "scores"


def deciding_keys(trainer: TrainerSpec, training: TrainingSection) -> dict[str, Any]:
    """Return the keys of `training:` that decide the reference's log-probabilities of the rows, as the file has them.

    KTO's estimate of KL sets each answer beside the prompt of another row, so there the order of the rows counts too.
    """
    others = training.passed_through
    own = {name: getattr(training, name) for name in OF_THE_MODEL if name in training.model_fields_set}
    found = own | {name: others[name] for name in OF_THE_PASS if name in others}
    if trainer.name == "dpo" and others.get("ld_alpha") is not None:
        found["ld_alpha"] = others["ld_alpha"]
    if trainer.name == "kto":
        found |= order_of_answers(training)
    return found


def order_of_answers(training: TrainingSection) -> dict[str, Any]:
    """Return the keys that decide the order of KTO's answers (heirloom/training/inputs/single_answers.py).

    Equal orders are said equally, without what is the default anyway.
    """
    others = training.passed_through
    seed = others["data_seed"] if others.get("data_seed") is not None else others.get("seed")
    found = {"per_device_train_batch_size": training.per_device_train_batch_size, "data_seed": seed}
    found["loss_type"] = others.get("loss_type")
    defaults = {"per_device_train_batch_size": TrainingSection.model_fields["per_device_train_batch_size"].default}
    defaults |= {"data_seed": DEFAULT_SEED, "loss_type": "kto"}
    return {name: value for name, value in found.items() if value not in (None, defaults[name])}
