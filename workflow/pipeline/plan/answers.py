"""What answers and scores take before they have run: how many there are, the memory of a card, the time.

A reference's scores of rows for a training are scores too, in batches that nobody halves.
"""

from pathlib import Path
from typing import Any

from heirloom.config.run import Run
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.trainers.table import TRAINERS
from heirloom.estimates.answering_memory import generation_memory, scoring_memory
from heirloom.estimates.answering_time import Answers, answering_time, scoring_time
from heirloom.estimates.deepspeed_settings import deepspeed_settings
from heirloom.estimates.duration import Duration
from heirloom.estimates.fitting import Fit
from heirloom.estimates.model_shape import ModelShape
from heirloom.estimates.overheads import usable, with_overheads
from heirloom.estimates.setups import Hosts

UNKNOWN_LENGTH = 1024
"""Tokens of a row of which nothing is known."""


def answering_fit(run: Run, kind: str, shape: ModelShape, saved: int, found: Hosts, rows: Any) -> Fit:
    """Return how answering or scoring fits a card, one row at a time: batches are halved where memory ends."""
    length = 2048 if isinstance(rows, str) else rows.longest
    card = usable(found.instance.card, found.instance.card_memory)
    if kind == "rewards":  # all models are there at once
        others = shape.parameters * saved * (len(run.training.reward_models) - 1)
        return Fit(with_overheads(scoring_memory(shape, 1, length, saved) + others, 1), card, "scores")
    if kind in ("evaluate", "scores"):
        return Fit(with_overheads(scoring_memory(shape, 1, length, saved), 1), card, "scores")
    if kind == "reference":
        batch = run.training.passed_through.get("precompute_ref_batch_size")
        batch = batch or run.training.per_device_train_batch_size
        sequences = batch * 2 if TRAINERS[run.trainer].takes_pairs else batch
        needed = scoring_memory(shape, sequences, length, saved)
        file = Path(f"config/deepspeed/{run.deepspeed}.json") if run.deepspeed else None
        if deepspeed_settings(file, shape.hidden).stage == 3:
            needed -= shape.parameters * saved * (1 - 1 / (found.ranks or 1))
        return Fit(with_overheads(needed, 1), card, "scores")
    section = run.generation
    together = found.ranks if section.engine in ("deepspeed", "deepspeed_zero") else 1
    shared = section.tensor_parallel_size or together  # vLLM fills a card whatever there is; one answer has to fit
    needed = generation_memory(shape, 1, length, section.max_new_tokens, saved, shared)
    return Fit(with_overheads(needed, 1), card, "answers")


def prompts_of(section: GenerationSection, held_out: int | None) -> int | None:
    """Return how many answers a section asks for; None where nobody knows how many prompts there are."""
    if section.prompts_file:
        file = Path(section.prompts_file)
        held_out = sum(1 for line in file.open("rb") if line.strip()) if file.is_file() else None
    known = [number for number in (held_out, section.limit) if number is not None]
    return min(known) * (section.num_return_sequences if section.do_sample else 1) if known else None


def first_time(
    run: Run, kind: str, shape: tuple[ModelShape, int], found: Hosts, rows: Any, count: int
) -> Duration | None:
    """Return how long answers to so many prompts, or scores of so many rows, take; None for an unknown engine or card.

    A row is as long as the training rows are on average, its prompt half of that.
    """
    model, saved = shape
    tokens = UNKNOWN_LENGTH if isinstance(rows, str) else rows.tokens / rows.rows if rows.rows else float(rows.longest)
    instance, ranks = found.instance, found.ranks
    if kind == "rewards":
        return scoring_time(model, count, tokens, 1, instance, 1)  # one process tries them
    if kind in ("reference", "evaluate", "scores"):
        return scoring_time(model, count, tokens, 1, instance, ranks)
    section = run.generation
    if section.engine not in ("accelerate", "continuous"):
        return None
    asked = Answers(count, tokens / 2, section.max_new_tokens, section.test_batch_size)
    return answering_time(model, saved, asked, instance, ranks)
