"""Choose the collator of a trainer on token rows: `training.collator`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.errors import HeirloomError
from heirloom.models.language_models import class_name, is_encoder_decoder, is_masked_language_model
from heirloom.training.batches.collators import CausalCollator, check_labels
from heirloom.training.batches.masked_language_modeling import MaskingCollator
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import TrainingData

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


def token_collator(
    command: TrainingCommand,
    data: TrainingData,
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    args: TrainingArguments,
) -> Collator:
    """Return the collator of a run on token rows. Raises HeirloomError, see `make_collator`."""
    return make_collator(
        **command.training.collation,
        trainer=command.trainer,
        columns=data.train.column_names,
        tokenizer=tokenizer,
        model=model,
        seed=args.seed,
    )


def make_collator(
    name: CollatorName,
    *,
    trainer: TrainerSpec,
    columns: Collection[str],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    pad_to_multiple_of: int | None = None,
    mlm_probability: float = 0.15,
    seed: int = 42,
) -> Collator:
    """Return the collator that `training.collator` names, for token rows with `columns`, not for pairs.

    Raises HeirloomError when it does not fit the trainer, the rows or the model; the message names what would.
    """
    name = default_collator(trainer, columns, model) if name == "default" else trainer.fitting_collator(name)
    check_columns(name, trainer, columns)
    check_model(name, model)
    if name == "mlm":
        return MaskingCollator(tokenizer, mlm_probability, seed, pad_to_multiple_of)
    if name == "seq2seq":
        return Seq2SeqCollator(
            DataCollatorForSeq2Seq(tokenizer, model=model, pad_to_multiple_of=pad_to_multiple_of),
            same_length=not is_encoder_decoder(model),
        )
    return CausalCollator(tokenizer.pad_token_id, pad_to_multiple_of)


def default_collator(trainer: TrainerSpec, columns: Collection[str], model: PreTrainedModel) -> CollatorName:
    """Return what `default` means for these rows and this model."""
    default = trainer.fitting_collator("default")
    if default == "completion_only" and "labels" not in columns and "dynamic_padding_only" in trainer.collators:
        return "dynamic_padding_only"  # plain text: there is nothing to mask
    if is_encoder_decoder(model) and "seq2seq" in trainer.collators:
        return "seq2seq"
    return default


@dataclass(frozen=True)
class Seq2SeqCollator:
    """transformers' DataCollatorForSeq2Seq on the columns that a model takes, whatever else a row holds."""

    collator: DataCollatorForSeq2Seq
    same_length: bool  # labels stand beside input_ids, token by token: a decoder-only model

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids and attention_mask (B, S), labels (B, T) and, from an encoder-decoder model,
        decoder_input_ids (B, T). Raises HeirloomError: see check_labels.
        """
        if self.same_length:
            for row in rows:
                check_labels(row)
        names = [name for name in ("input_ids", "attention_mask", "labels") if name in rows[0]]
        return dict(self.collator([{name: row[name] for name in names} for row in rows]))


def check_columns(name: CollatorName, trainer: TrainerSpec, columns: Collection[str]) -> None:
    """Raise HeirloomError when the collator reads a column that the rows do not have."""
    if name in ("completion_only", "seq2seq") and "labels" not in columns:
        others = " or dynamic_padding_only, which trains on every token" if "text" in trainer.row_kinds else ""
        raise HeirloomError(
            f"training.collator: {name} needs rows with labels, which say what is trained on, and the dataset has only "
            f"{', '.join(columns)}: use a dataset of kind chat{others}"
        )


def check_model(name: CollatorName, model: PreTrainedModel) -> None:
    """Raise HeirloomError when the model does not predict what the collator's labels say."""
    masked = is_masked_language_model(model)
    if (name == "mlm") != masked:
        kind, remedy = ("a masked", "mlm (trainer: trainer)") if masked else ("no masked", "another collator")
        raise HeirloomError(
            f"training.collator: {name} does not fit {class_name(model)}, {kind} language model: choose {remedy}, or "
            "another base"
        )
    if name != "seq2seq" and is_encoder_decoder(model):
        raise HeirloomError(
            f"training.collator: {name} does not fit {class_name(model)}, an encoder-decoder model: choose "
            "trainer: seq2seq with collator: seq2seq"
        )
    if is_encoder_decoder(model) and not hasattr(model, "prepare_decoder_input_ids_from_labels"):
        raise HeirloomError(
            f"training.collator: {name} does not fit {class_name(model)}, which does not say what its decoder reads "
            "for given labels (prepare_decoder_input_ids_from_labels): choose another base"
        )
