"""What a model does with held-out rows: greedy answers to prompts, and the likelihood of texts.

The checkpoint is loaded as the workflow's own stages load it, the export by plain transformers from its files alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.processed_dataset import held_out_rows, read_description
from heirloom.evaluation.likelihoods.log_likelihood import Row, check_rows, negative_log_likelihoods
from heirloom.evaluation.likelihoods.perplexity import LARGEST
from heirloom.inference.answers import Answerer
from heirloom.inference.prompts import COLUMNS, Prompt, read_prompts
from heirloom.models.batches import padded_batch
from heirloom.models.language_models import is_encoder_decoder, longest_text
from heirloom.models.remote_code import loading, loading_from
from heirloom.models.token_losses import token_losses
from heirloom.models.trained_checkpoints import load_config, load_model, load_tokenizer
from heirloom.models.weights import weights_hash

PROMPTS, ANSWER, OPENING = 8, 32, 32
"""Prompts that are answered, tokens of an answer, and tokens of a held-out text that stand for a prompt."""
BATCH = 8
"""Rows of a forward pass."""


@dataclass(frozen=True)
class Held:
    """What a model is held against: prompts to answer, and rows whose likelihood is measured."""

    dataset: str
    prompts: list[Prompt]
    rows: list[Row]


@dataclass(frozen=True)
class Measured:
    """What a model did."""

    weights: str
    """`weights_hash` of its folder."""
    dtype: str
    answers: list[list[int]]
    """Tokens after each prompt, with the one that ends the answer."""
    nats: float
    """Mean negative log-likelihood a token."""
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp of it."""
        return math.exp(min(self.nats, LARGEST))


def read_held_out(prompts: Path, rows: Path) -> Held:
    """Return the first prompts of one processed dataset and all held-out rows of another (often the same).

    Raises HeirloomError when nothing is held out.
    """
    kind, split = read_description(rows)["kind"], held_out_rows(rows, "compare an export by")
    pairs = {"preference": ("prompt_ids", "chosen_ids"), "labelled": ("prompt_ids", "completion_ids")}
    if kind in pairs:
        first, second = pairs[kind]
        found = [([*row[first], *row[second]], [*[IGNORED] * len(row[first]), *row[second]]) for row in split]
    else:
        columns = split.select_columns([name for name in ("input_ids", "labels") if name in split.column_names])
        found = [(row["input_ids"], row.get("labels", row["input_ids"])) for row in columns]
    if all(name in held_out_rows(prompts, "answer").column_names for name in COLUMNS):
        asked = read_prompts(prompts, PROMPTS)
    else:  # rows of text have no prompts: their openings are continued
        asked = [Prompt(at, f"row-{at}", "", tuple(ids[:OPENING]), None) for at, (ids, _) in enumerate(found[:PROMPTS])]
    return Held(rows.name, asked, sorted(found, key=lambda row: -len(row[0])))


def measure_checkpoint(
    checkpoint: Path, held: Held, answering: GenerationSection, device: torch.device, attention: str | None
) -> tuple[Measured, Answerer]:
    """Return what a checkpoint does, loaded and asked as the inference stage does, and what answered for it.

    `answering`: the run's section, of which the tokens that end an answer are taken. Raises HeirloomError as
    `load_model` and `Answerer` do, and for rows that are not the model's.
    """
    config = load_config(checkpoint)
    check_rows(checkpoint, held.rows, config)
    model = load_model(checkpoint, "auto", attention, device)
    greedy = GenerationSection(max_new_tokens=ANSWER, eos_tokens=answering.eos_tokens, test_batch_size=1)
    answerer = Answerer(model, load_tokenizer(checkpoint), greedy, device)
    answers = [answerer.new_tokens([prompt])[0] for prompt in fitting(held.prompts, model)]
    nats, tokens = likelihood(model, held.rows)
    return Measured(weights_hash(checkpoint), dtype_of(model), answers, nats, tokens), answerer


def measure_export(folder: Path, held: Held, device: torch.device, attention: str | None) -> Measured:
    """Return what the model in `folder` does in plain transformers, which knows nothing but its files.

    Raises HeirloomError when it cannot be loaded.
    """
    with loading_from(folder):
        encoder_decoder = AutoConfig.from_pretrained(folder, **loading()).is_encoder_decoder
        kind = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
        chosen = {"attn_implementation": attention} if attention else {}
        placed = {"device_map": {"": device}} if device.type != "cpu" else {}
        model = kind.from_pretrained(folder, dtype="auto", **loading(), **chosen, **placed).eval()
    answers = [continued(model, prompt) for prompt in fitting(held.prompts, model)]
    nats, tokens = likelihood(model, held.rows)
    return Measured(weights_hash(folder), dtype_of(model), answers, nats, tokens)


@torch.no_grad()
def continued(model: PreTrainedModel, prompt: Prompt) -> list[int]:
    """Return the greedy answer by transformers' `generate` with the model's own generation config."""
    ids = torch.tensor([prompt.ids], device=model.device)  # (1, T)
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=ANSWER)
    return output[0, 1 if is_encoder_decoder(model) else ids.shape[1] :].tolist()


def fitting(prompts: Sequence[Prompt], model: PreTrainedModel) -> list[Prompt]:
    """Return the prompts, cut in front where the model has no positions for them and an answer."""
    positions = longest_text(model.config.get_text_config())
    if positions is None or is_encoder_decoder(model):
        return list(prompts)
    room = max(1, positions - ANSWER)
    return [Prompt(each.position, each.row_id, each.text, each.ids[-room:], each.reference) for each in prompts]


def likelihood(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[float, int]:
    """Return the mean negative log-likelihood (nats) of the tokens of `rows` that count, and their number."""
    measure = target_log_likelihoods if is_encoder_decoder(model) else negative_log_likelihoods
    batches = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    found = [row for batch in batches for row in measure(model, batch)]
    tokens = sum(count for _, count in found)
    return sum(nats for nats, _ in found) / max(tokens, 1), tokens


@torch.inference_mode()
def target_log_likelihoods(model: PreTrainedModel, batch: Sequence[Row]) -> list[tuple[float, int]]:
    """Return for each (source, target) the negative log-likelihood (nats) of the target, and its number of tokens."""
    ids = padded_batch([source for source, _ in batch], 0).to(model.device)  # (B, T)
    mask = padded_batch([[1] * len(source) for source, _ in batch], 0).to(model.device)
    labels = padded_batch([target for _, target in batch], IGNORED).to(model.device)  # (B, U)
    nats = token_losses(model, {"input_ids": ids, "attention_mask": mask, "labels": labels}, labels)
    return list(zip(nats.double().sum(dim=1).tolist(), (labels != IGNORED).sum(dim=1).tolist(), strict=True))


def dtype_of(model: PreTrainedModel) -> str:
    """Return the precision of a model's weights, by torch's name."""
    return str(model.dtype).removeprefix("torch.")
