"""Perplexity of a checkpoint on held-out rows: exp of the mean negative log-likelihood a token.

The mean is over tokens, not over rows, batches or ranks: sums and counts are added up everywhere before the one
division (Jurafsky & Martin, Speech and Language Processing, 3rd ed., section 3.3).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import AutoModelForCausalLM

from heirloom.errors import HeirloomError
from heirloom.processed_dataset import load_split, read_description

IGNORED = -100  # label of a token that does not count

Row = tuple[list[int], list[int]]
"""Token ids and labels of one text, equally long."""


def measure_perplexity(checkpoint: Path, dataset: Path, batch_size: int, ranks: PartialState) -> dict[str, float]:
    """Return perplexity, negative log-likelihood a token (nats) and the number of tokens counted.

    For chats only the tokens that are trained on count. Every rank calls this and gets the same result.
    Raises HeirloomError when there is no model, or nothing held out to measure on.
    """
    if not (checkpoint / "config.json").is_file():
        raise HeirloomError(f"{checkpoint}: holds no model (no config.json)")
    rows = read_rows(dataset)
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    model = AutoModelForCausalLM.from_pretrained(checkpoint, local_files_only=True, dtype="auto")
    model.to(ranks.device).eval()
    mine = range(ranks.process_index, len(batches), ranks.num_processes)
    sums = [(index, *negative_log_likelihood(model, batches[index])) for index in mine]
    # in the order of the batches, so that rounding is the same for any number of ranks
    ordered = sorted(gather_object(sums))
    total, tokens = math.fsum(nats for _, nats, _ in ordered), sum(count for _, _, count in ordered)
    if not tokens:
        raise HeirloomError(f"{dataset}: no token of its test split counts: look at its preview.html and train_on")
    return {"perplexity": math.exp(total / tokens), "nll_per_token": total / tokens, "tokens": tokens}


def read_rows(dataset: Path) -> list[Row]:
    """Return the test split, rows of similar length together. Raises HeirloomError when there is none that counts."""
    kind = read_description(dataset)["kind"]
    if kind in ("preference", "seq2seq"):
        raise HeirloomError(
            f"{dataset}: perplexity is measured on text or chat rows, and these are of kind {kind}: let "
            "evaluation.dataset name another dataset"
        )
    split = load_split(dataset, "test")
    if split is None:
        raise HeirloomError(
            f"{dataset}: holds no test rows to measure on: set processing.test_split, test_rows or test_fraction in "
            "the dataset's file"
        )
    columns = split.select_columns([name for name in ("input_ids", "labels") if name in split.column_names])
    rows = [(row["input_ids"], row.get("labels", row["input_ids"])) for row in columns]
    return sorted(rows, key=lambda row: -len(row[0]))  # stable: equal lengths stay in dataset order


@torch.inference_mode()
def negative_log_likelihood(model: torch.nn.Module, batch: Sequence[Row]) -> tuple[float, int]:
    """Return the sum (nats) over the tokens of `batch` that count, each given those before it, and their number.

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
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits  # (B, T, V)
    targets = labels[:, 1:].to(device)  # (B, T-1): position t predicts token t+1
    nats = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return nats.double().sum().item(), int((targets != IGNORED).sum())
