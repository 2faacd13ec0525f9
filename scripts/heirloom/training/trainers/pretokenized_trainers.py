"""TRL's trainers for rows that are tokenized and masked already."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from datasets import Dataset
from trl import DPOTrainer, SFTTrainer

from heirloom.distributed import barrier, is_first_rank_of_host, on_every_rank
from heirloom.models.language_models import without_adapter
from heirloom.training.batches.document_isolation import DocumentsStayApart
from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.losses.held_out_batches import HeldOutBatches
from heirloom.training.losses.token_weighted_evaluation import TokenWeightedEvaluation


class WithoutModelCard:
    """Mixin: no README.md at each checkpoint; it would name paths, and asks a tracker that is not there."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing."""


class HeadUnderZero3:
    """Mixin: DeepSpeed is told that the whole model uses the output layer's weights, which ZeRO-3 partitions.

    TRL 1.16 multiplies with these weights itself and never calls the layer, so no hook brings them back before their
    gradient is added: the first backward pass of a model with an output layer of its own failed (sizes 0 and H).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plugin = self.args.deepspeed_plugin
        if plugin is None or plugin.zero_stage != 3:
            return
        import deepspeed

        model = without_adapter(self.model)
        for weights in model.get_output_embeddings().parameters():
            if hasattr(weights, "ds_id"):
                deepspeed.zero.register_external_parameter(model, weights)


class PretokenizedSFTTrainer(
    HeadUnderZero3,
    WithoutModelCard,
    DocumentsStayApart,
    EachRowOnce,
    StepCounts,
    HeldOutBatches,
    TokenWeightedEvaluation,
    SFTTrainer,
):
    """SFTTrainer that takes `input_ids` and `labels` as they are; give it SKIP_PREPARATION as dataset_kwargs.

    Packed rows have `seq_lengths` too, and want `padding_free=True`. TRL then makes the collator itself, from the
    arguments; set `evaluation_collator`, because held-out rows are measured row by row.
    """


SKIP_PREPARATION = {"skip_prepare_dataset": True}
"""SFTConfig's own switch: no tokenization, no masks made anew, no truncation."""


class ReferenceOnceAHost:
    """Mixin for a trainer with `precompute_ref_log_probs`: rows that have the reference's numbers keep them."""

    def __init__(self, *args: Any, train_dataset: Dataset, **kwargs: Any) -> None:
        with names_no_cache(type(self)) if has_scores(train_dataset) else nullcontext():
            super().__init__(*args, train_dataset=train_dataset, **kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Keep the reference's log-probabilities once a host: TRL's ranks all read the file that the first one writes.

        `dataset` is the host's own copy (`training_data.copied_rows`, `single_answers`), with what an interrupted start
        has kept beside it. Ranks must not go different ways, so that counts where every host has it.
        """
        if has_scores(dataset):
            return dataset
        folder = Path(dataset.cache_files[0]["filename"]).parent
        kept = {file.name for file in folder.glob("cache-*.arrow")}
        everywhere = on_every_rank(kept)
        if is_first_rank_of_host():
            for file in kept - everywhere:
                (folder / file).unlink()
        barrier()
        whole = self.accelerator
        self.accelerator = FirstRankOfHostWrites(whole)
        try:
            return super()._precompute_ref_logps(dataset, name, batch_size)
        finally:
            self.accelerator = whole


def has_scores(rows: Dataset) -> bool:
    """Return whether rows have what the reference gives them (heirloom.training.inputs.reference_scores)."""
    return any(name.startswith("ref_") for name in rows.column_names)


@contextmanager
def names_no_cache(kind: type) -> Iterator[None]:
    """Let TRL hash no model inside: by all of its weights, in float32, it would name a file that nobody writes."""
    module = sys.modules[next(base.__module__ for base in kind.__mro__ if base.__module__.startswith("trl."))]
    original, module.hash_module = module.hash_module, lambda model: ""
    try:
        yield
    finally:
        module.hash_module = original


class PretokenizedDPOTrainer(HeadUnderZero3, WithoutModelCard, ReferenceOnceAHost, EachRowOnce, StepCounts, DPOTrainer):
    """DPOTrainer that takes `prompt_ids`, `chosen_ids` and `rejected_ids` as they are.

    TRL 1.16 has no switch for that: it renders and tokenizes texts always, and what it makes are these columns.
    """

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class FirstRankOfHostWrites:
    """An accelerator to which the first rank of each host is a main process."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    @property
    def is_main_process(self) -> bool:
        return self._accelerator.is_local_main_process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)
