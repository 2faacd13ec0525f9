"""The numbers that a reward model gives texts, spread over the ranks: the same digits on any number."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import PreTrainedConfig

from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.log_likelihood import Row, check_rows, over_ranks
from heirloom.models.batches import padded_batch
from heirloom.models.trained_checkpoints import load_config, load_model


def score_texts(
    checkpoint: Path, rows: Sequence[Row], batch_size: int, ranks: PartialState, attention: str | None = None
) -> list[float]:
    """Return a reward model's number for each row, whose labels are not read.

    It is taken where transformers' forward pass takes it, at the last token that is no padding, as in training. Every
    rank calls this and gets all numbers, in the order of the rows. Raises HeirloomError when there is no reward model,
    or one that gives no numbers, and for rows that are too long for it or of others' tokens.
    """
    config = load_config(checkpoint)
    check_rows(checkpoint, rows, config)
    model = load_model(checkpoint, "auto", attention, ranks.device, scores=True)
    pad = padding_of(checkpoint, config)
    # by length, so that little is padded; the longest first, so that too little memory shows at once
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index][0]))
    found = over_ranks(partial(rewards_of, model, pad), [rows[index] for index in order], batch_size, ranks)
    check_finite(checkpoint, found)
    return [reward for _, reward in sorted(zip(order, found, strict=True))]


def padding_of(checkpoint: Path, config: PreTrainedConfig) -> int:
    """Return the token that texts are padded with. Raises HeirloomError for a reward model that names none."""
    if (pad := config.get_text_config().pad_token_id) is None:
        raise HeirloomError(f"{checkpoint}: its config.json names no pad_token_id, by which a text's end is found")
    return pad


def check_finite(checkpoint: Path, rewards: Sequence[float]) -> None:
    """Raise HeirloomError where a reward model gives no numbers."""
    if not all(map(math.isfinite, rewards)):
        raise HeirloomError(f"{checkpoint}: gives rewards that are no numbers: its training has diverged")


@torch.inference_mode()
def rewards_of(model: torch.nn.Module, pad: int, batch: Sequence[Row]) -> list[float]:
    """Return the number of each row of a batch, which is padded on the right with `pad`."""
    device = next(model.parameters()).device
    ids = padded_batch([ids for ids, _ in batch], pad)  # (B, T)
    mask = padded_batch([[1] * len(ids) for ids, _ in batch], 0)
    output = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
    return output.logits.squeeze(-1).double().tolist()
