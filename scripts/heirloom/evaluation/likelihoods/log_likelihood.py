"""Log-likelihoods of token sequences under a checkpoint, spread over the ranks: the same digits on any number."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PreTrainedConfig

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.distributed import gathered_rows
from heirloom.errors import HeirloomError
from heirloom.models.batches import in_halves
from heirloom.models.language_models import longest_text
from heirloom.models.token_losses import following, token_losses
from heirloom.models.trained_checkpoints import load_config, load_model

Row = tuple[list[int], list[int]]
"""Token ids and labels of one text, equally long."""


def measure_rows(
    checkpoint: Path, rows: Sequence[Row], batch_size: int, ranks: PartialState, attention: str | None = None
) -> list[tuple[float, int]]:
    """Return for each row the negative log-likelihood (nats) of its tokens that count, and their number.

    Every rank calls this and gets the result for all rows, in their order. Batches are made before they are spread, so
    that padding, and with it rounding, does not depend on the ranks. Raises HeirloomError when there is no model, or
    one that does not predict the next token or gives no numbers, and for rows that are too long for it or of others'
    tokens.
    """
    config = load_config(checkpoint)
    if config.is_encoder_decoder or any(name.endswith("ForMaskedLM") for name in config.architectures or ()):
        raise HeirloomError(
            f"{checkpoint}: perplexity and preference are of models that predict the next token, and this is a "
            f"{config.model_type}: take them out of evaluation.metrics; its held-out loss is in metrics/training/"
        )
    check_rows(checkpoint, rows, config)
    model = load_model(checkpoint, "auto", attention, ranks.device)
    found = [tuple(row) for row in over_ranks(partial(negative_log_likelihoods, model), rows, batch_size, ranks)]
    if not all(math.isfinite(nats) for nats, _ in found):
        raise HeirloomError(f"{checkpoint}: gives log-probabilities that are no numbers: its training has diverged")
    return found


def over_ranks(
    compute: Callable[[Sequence[Row]], list[Any]], rows: Sequence[Row], batch_size: int, ranks: PartialState
) -> list[Any]:
    """Return what `compute` gives for each row, computed in batches by all ranks; each gets all of it, in order."""
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    mine = range(ranks.process_index, len(batches), ranks.num_processes)
    measured = [(index, in_halves(compute, batches[index], "scored")) for index in mine]
    return [found for _, batch in sorted(gathered_rows(measured)) for found in batch]


def check_rows(checkpoint: Path, rows: Sequence[Row], config: PreTrainedConfig) -> None:
    """Raise HeirloomError for a row with more tokens than the model has positions, or with tokens that it lacks."""
    text = config.get_text_config()
    positions = longest_text(text)
    longest = max(len(ids) for ids, _ in rows)
    if positions is not None and longest > positions:
        raise HeirloomError(
            f"{checkpoint}: has {positions} positions, and the longest held-out row has {longest} tokens: lower "
            "max_length of the dataset, or evaluate on another"
        )
    largest = max(max(ids, default=0) for ids, _ in rows)
    if largest >= text.vocab_size:
        raise HeirloomError(
            f"{checkpoint}: knows {text.vocab_size} tokens, and the held-out rows have the token id {largest}: they "
            "were made with the tokenizer of another model; process the dataset with this model's"
        )


@torch.inference_mode()
def negative_log_likelihoods(model: torch.nn.Module, batch: Sequence[Row]) -> list[tuple[float, int]]:
    """Return for each row the sum (nats) over its tokens that count, each given those before it, and their number.

    A row's first token has nothing before it and never counts.
    """
    width = max(len(ids) for ids, _ in batch)
    device = next(model.parameters()).device
    ids = torch.zeros(len(batch), width, dtype=torch.long)  # (B, T), padded at the end
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for index, (row_ids, row_labels) in enumerate(batch):
        ids[index, : len(row_ids)] = torch.tensor(row_ids)
        mask[index, : len(row_ids)] = 1
        labels[index, : len(row_ids)] = torch.tensor(row_labels)
    targets = following(labels).to(device)  # (B, T): position t predicts token t+1
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "use_cache": False}
    nats = token_losses(model, inputs, targets)  # (B, T)
    sums = nats.double().sum(dim=1)  # (B,)
    return list(zip(sums.tolist(), (targets != IGNORED).sum(dim=1).tolist(), strict=True))
