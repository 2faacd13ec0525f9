"""Keys of a run's training that do not fit its trainer, that change what others promise, or that have no effect."""

from collections.abc import Iterator
from typing import Any

from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.arguments.schedules import OF_HELD_OUT_LOSS
from heirloom.config.before_training.reference_scores import WITH_REFERENCE, reads_reference_scores
from heirloom.config.keys.reward_keys import reward_problems
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.errors import HeirloomError

SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""The losses of TRL's DPOTrainer that read label_smoothing; dpo_trainer.py passes over it in all others."""
FUSED_OUTPUT = ("sft", "dpo", "kto", "grpo", "rloo")
"""Trainers whose log-probabilities TRL computes from the output layer's own weights, past an adapter of it."""


def training_problems(
    trainer: TrainerSpec, training: TrainingSection, peft: PeftSection | None, deepspeed: str | None
) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, problem) for what does not fit the trainer, or has no effect with it."""
    others = training.passed_through
    try:
        trainer.fitting_collator(training.collator)
    except HeirloomError as error:
        yield "training.collator", str(error).removeprefix("training.collator: ")
    yield from batch_problems(trainer, training)
    yield from idle_keys(others)
    yield from best_state_problems(trainer, training)
    if trainer.takes_pairs and others.get("label_smoothing_factor"):
        yield "training.label_smoothing_factor", f"has no effect with trainer: {trainer.name}; delete it"
    yield from reward_problems(trainer, training)
    if trainer.name == "dpo":
        yield from dpo_problems(others)
    if trainer.name == "kto":
        yield from kto_problems(training)
    if others.get("sync_ref_model") is True and (trainer.rewarded or trainer.name in WITH_REFERENCE):
        yield (
            "training.sync_ref_model",
            "is not available: the reference that follows the model is in no checkpoint, so a training that is resumed "
            "would go on with another one; delete it",
        )
    yield from reference_problems(trainer, training, peft)
    if trainer.scores and peft is not None and not peft.merge:
        problem = f"false is not available with trainer: {trainer.name}, whose head is in no model below it"
        yield "peft.merge", f"{problem}; set true, and the checkpoint has the adapter in adapter/ too"
    for key in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):
        given = others.get(key)
        reentrant = isinstance(given, dict) and given.get("use_reentrant") is True
        if reentrant and training.deterministic:
            problem = "use_reentrant: true cannot be combined with deterministic: true, which computes gradients alone"
            yield f"training.{key}", f"{problem}; delete it"
            continue
        if not reentrant or peft is None or deepspeed is not None:
            continue
        yield (
            f"training.{key}",
            "use_reentrant: true cannot be used with an adapter and without deepspeed, because weights would be marked "
            "ready twice; delete it",
        )
    if peft is not None and trainer.name in FUSED_OUTPUT and "lm_head" in (peft.target_names or []):
        yield (
            "peft.target_modules",
            f"lm_head cannot have an adapter with trainer: {trainer.name}, whose log-probabilities are computed past "
            "it; delete it, or put lm_head into modules_to_save",
        )


def batch_problems(trainer: TrainerSpec, training: TrainingSection) -> Iterator[tuple[str, str]]:
    """Yield keys that say how rows are put together, and that have no effect with this trainer or without others."""
    others = training.passed_through
    packing = others.get("packing") is True
    if training.seq_length is not None and not (trainer.joins_rows or (trainer.packs_rows and packing)):
        remedy = "add packing: true or delete it" if trainer.packs_rows else "delete it"
        yield "training.seq_length", f"has no effect here: rows are neither joined nor packed; {remedy}"
    if "packing_strategy" in others and not packing:
        yield "training.packing_strategy", "has no effect without packing: true; add that or delete it"
    if trainer.takes_pairs and others.get("train_sampling_strategy") == "group_by_length":
        problem = "cannot group pairs by length, which have two sequences; delete it"
        yield "training.train_sampling_strategy", problem
    if trainer.name == "dpo" and others.get("padding_free") is True:
        problem = "is switched off in this version of TRL's DPOTrainer, which would pad all the same; delete it"
        yield "training.padding_free", problem


def best_state_problems(trainer: TrainerSpec, training: TrainingSection) -> Iterator[tuple[str, str]]:
    """Yield a metric_for_best_model that this trainer never measures, or that its schedule does not go by."""
    name = training.best_metric
    if not training.compares_states:
        return
    if name in trainer.held_out_answers and training.passed_through.get("predict_with_generate") is not True:
        yield "training.metric_for_best_model", f"{name} is not measured without predict_with_generate: true; add that"
    elif name not in (*trainer.held_out, *trainer.held_out_answers):
        known = did_you_mean(name, (*trainer.held_out, *trainer.held_out_answers))
        yield "training.metric_for_best_model", f"{name} is never measured by trainer: {trainer.name}; {known}"
    schedule = training.passed_through.get("lr_scheduler_type")
    if schedule in OF_HELD_OUT_LOSS and (name != "loss" or training.more_is_better):
        problem = f"cannot be another than loss beside lr_scheduler_type: {schedule}, which follows the held-out loss"
        yield "training.metric_for_best_model", f"{problem}; delete one of the two"


def dpo_problems(others: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what would leave DPO's loss as it is."""
    losses = others.get("loss_type", ["sigmoid"])
    losses = losses if isinstance(losses, list) else [losses]
    smoothing = others.get("label_smoothing")
    if "exo_pair" in losses and not smoothing:
        yield "training.label_smoothing", "must be above 0 for loss_type exo_pair; its authors recommend 0.001"
    elif smoothing and not {*SMOOTHED} & {*map(str, losses)}:
        problem = f"has no effect with loss_type {', '.join(map(str, losses))}, only with {', '.join(SMOOTHED)}"
        yield "training.label_smoothing", f"{problem}; choose one of these (robust is conservative DPO) or delete it"


def kto_problems(training: TrainingSection) -> Iterator[tuple[str, str]]:
    """Yield what would take the other prompt from beside an answer, by which KTO estimates KL."""
    others = training.passed_through
    if others.get("loss_type", "kto") != "kto":
        return
    if others.get("train_sampling_strategy", "sequential") != "sequential":
        problem = "must be sequential with trainer: kto, whose rows stand beside each other in an order drawn by seed"
        yield "training.train_sampling_strategy", f"{problem}; delete it"
    if training.per_device_train_batch_size < 2:
        problem = "must be at least 2 with trainer: kto, which pairs each answer with the prompt of another row"
        yield "training.per_device_train_batch_size", f"{problem}; raise it"


def has_reference(trainer: TrainerSpec, others: dict[str, Any]) -> bool:
    """Return whether the training computes what a reference would have answered."""
    if trainer.rewarded:
        return bool(others.get("beta", argument_schemas(trainer.name)["beta"]["default"]))
    return trainer.name in WITH_REFERENCE


def reference_problems(
    trainer: TrainerSpec, training: TrainingSection, peft: PeftSection | None
) -> Iterator[tuple[str, str]]:
    """Yield keys of a reference that there is none for, and what of an adapter would move it."""
    scored = reads_reference_scores(trainer, training, peft)
    if training.reference is not None and trainer.name not in WITH_REFERENCE:
        yield "training.reference", f"has no effect with trainer: {trainer.name}; delete it"
    elif "precompute_ref_batch_size" in training.passed_through and not scored:
        remedy = "add that or delete it" if training.reference is None else "change that or delete it"
        yield "training.precompute_ref_batch_size", f"has no effect without reference: scores; {remedy}"
    if peft is None or peft.bias == "none" or scored or not has_reference(trainer, training.passed_through):
        return
    other = "training.beta: 0" if trainer.rewarded else "training.reference: scores"
    yield (
        "peft.bias",
        f"{peft.bias} cannot be used with trainer: {trainer.name}, whose reference is the base with the adapter "
        f"switched off, because trained biases stay on; set bias: none, or {other}",
    )


NEEDED = {
    "discopop_tau": ("loss_type", "discopop"),
    "f_alpha_divergence_coef": ("f_divergence_type", "alpha_divergence"),
    "ref_model_mixup_alpha": ("sync_ref_model", True),
    "ref_model_sync_steps": ("sync_ref_model", True),
    "liger_kernel_config": ("use_liger_kernel", True),
}
"""Key of `training` → the key, and its value, without which it has no effect."""


def idle_keys(others: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield keys that have no effect because another is missing."""
    for key, (name, value) in NEEDED.items():
        if key not in others:
            continue
        given = others.get(name)
        if given != value and not (isinstance(given, list) and value in given):
            text = str(value).lower() if value is True else value
            yield f"training.{key}", f"has no effect without {name}: {text}; add that or delete it"
