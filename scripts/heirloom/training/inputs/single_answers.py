"""The rows of KTO: single answers with a label, each beside an answer to another prompt for the estimate of KL.

TRL's KTOTrainer makes them of texts; here they are made of tokens, once a host, in the folder for work in progress.
TRL takes them in the order of the dataset and pairs neighbors; the two answers of a pair would then stand beside each
other. So the order is drawn here: for training by `data_seed`, or `seed`, for held-out rows always the same.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from datasets import Dataset, load_from_disk
from transformers import TrainingArguments

from heirloom.distributed import barrier, host_number, is_first_rank_of_host, say
from heirloom.training.inputs.training_data import TrainingData

WEIGHTS = ("desirable_weight", "undesirable_weight")


def single_answers(data: TrainingData, args: TrainingArguments) -> TrainingData:
    """Return rows of prompt_ids, completion_ids, label and KL_completion_ids, in their order. Every rank calls it."""
    seed = args.seed if args.data_seed is None else args.data_seed
    made = {}
    for split, drawn in (("train", seed), ("test", 0)):
        rows, folder = getattr(data, split), Path(args.output_dir) / "answers" / f"{split}-{host_number()}"
        if rows is not None:
            if is_first_rank_of_host():
                Dataset(answers_of(rows, drawn, args.per_device_train_batch_size)).save_to_disk(folder)
            barrier()
            made[split] = load_from_disk(str(folder))
    return replace(data, **made)


def answers_of(rows: Dataset, seed: int, batch: int) -> pyarrow.Table:
    """Return the answers of labelled rows or pairs in an order drawn by `seed`, with those beside them.

    Within each `batch` rows the answers move on by one, as in TRL (https://arxiv.org/abs/2402.01306, section 4.1).
    """
    table = rows.with_format("arrow")[:]
    prompts = table["prompt_ids"].combine_chunks()
    if "chosen_ids" in table.column_names:
        pairs = len(prompts)
        both = [table[f"{side}_ids"].combine_chunks() for side in ("chosen", "rejected")]
        answers = pyarrow.concat_arrays(both)
        prompts = prompts.take(pyarrow.array(np.tile(np.arange(pairs), 2)))
        labels = pyarrow.array(np.arange(2 * pairs) < pairs)
    else:
        answers, labels = table["completion_ids"].combine_chunks(), table["label"].combine_chunks()
    order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(seed % 2**63)).numpy()
    starts = np.arange(len(order)) // batch * batch  # of the batch that each row is in
    ends = np.minimum(starts + batch, len(order)) - 1
    before = np.where(np.arange(len(order)) == starts, ends, np.arange(len(order)) - 1)
    columns = {"prompt_ids": prompts, "completion_ids": answers, "label": labels, "KL_completion_ids": answers}
    taken = {
        name: column.take(pyarrow.array(order[before] if name.startswith("KL") else order))
        for name, column in columns.items()
    }
    return pyarrow.table(taken)


def class_weights(rows: Dataset, given: dict[str, Any]) -> dict[str, float]:
    """Return the weights of good and bad answers where there are not as many of both, and the run says nothing.

    The rarer kind counts as much as the other in all (arXiv:2402.01306, eq. 8, which allows ratios of 1 to 4/3).
    Says on the main rank what it derives.
    """
    if "label" not in rows.column_names or any(key in given for key in WEIGHTS):
        return {}
    good = int(pyarrow.compute.sum(rows.with_format("arrow")[:]["label"]).as_py() or 0)
    bad = len(rows) - good
    if good == bad or not (good and bad):
        return {}
    weights = {WEIGHTS[0]: max(bad / good, 1.0), WEIGHTS[1]: max(good / bad, 1.0)}
    shown = ", ".join(f"{key}: {value:.4g}" for key, value in weights.items())
    say(
        f"{good:,} good and {bad:,} bad answers: {shown}, so that both kinds count as much (give them to choose others)"
    )
    return weights
