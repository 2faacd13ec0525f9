"""Before a training is called done: the checkpoint as written is the model that was trained, and its tokenizer too.

What is written goes through several hands: weights are gathered from ranks, taken out of a compiled module, merged
with an adapter, tied or untied, and read again by a class that transformers chooses. Each of them can change the model
without a word. So the folder is loaded as anybody will load it, and asked for the logits of one row.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, Trainer

from heirloom.errors import HeirloomError
from heirloom.models.language_models import (
    is_encoder_decoder,
    is_masked_language_model,
    is_reward_model,
    without_adapter,
)
from heirloom.models.remote_code import loading
from heirloom.models.tokenizer_files import SAMPLES, first_difference
from heirloom.models.trained_checkpoints import folders_of, load_config
from heirloom.models.weights import bytes_of_weights
from heirloom.training.checkpoints.host_memory import free_memory
from heirloom.training.inputs.adapters import has_quantized_weights
from heirloom.training.inputs.base_models import architecture
from heirloom.training.inputs.training_command import TrainingCommand

LENGTH = 64
"""Tokens of the row that is compared."""
EXACT, HALF, QUANTIZED = 1e-4, 0.1, 0.5
"""How far the logits may be apart. Float32: the greatest difference, as a share of the greatest logit where that is
above 1. 16 bits and quantized bases: root mean square, as a share of the logits' spread (of a reward model's numbers
their size): 16 bits round each weight that is merged, and a merged model has exact weights where the trained one saw
weights of 8 or 4 bits."""
BEGINNINGS = 8
"""Texts of which a reward model's numbers are compared: the row, cut at as many places."""
NOTES = "notes.json"
"""The file in the launcher's work folder that an execution's record takes its notes from."""


@dataclass(frozen=True)
class Probe:
    """One row, and the logits that the trained model has for it: of a reward model its number for each beginning."""

    inputs: dict[str, torch.Tensor]
    """Arguments of the model's forward, (1, T) each; of a reward model (BEGINNINGS, T)."""
    logits: torch.Tensor
    """(T, V), or (BEGINNINGS, 1), float32, on the CPU."""
    precision: str
    """float32, 16 bits or quantized: what the trained model computed in."""


def probe(trainer: Trainer) -> Probe:
    """Return one row of the training and the trained model's logits for it. Every rank calls this: ZeRO-3 shards."""
    model = plain_model(trainer)
    inputs = one_row(trainer, model)
    return Probe(inputs, logits_of(model, inputs), precision(trainer, without_adapter(model)))


def plain_model(trainer: Trainer) -> PreTrainedModel:
    """Return the model itself, out of all that trains it: data parallelism, DeepSpeed, torch.compile."""
    return trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)


def precision(trainer: Trainer, model: PreTrainedModel) -> str:
    """Return what a model computes in: float32, 16 bits (TF32 has no more digits) or quantized."""
    if has_quantized_weights(model):
        return "quantized"
    narrow = any(weight.dtype in (torch.bfloat16, torch.float16) for weight in model.parameters())
    args = trainer.args
    return "16 bits" if narrow or args.bf16 or args.fp16 or args.tf32 else "float32"


def one_row(trainer: Trainer, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the beginning of the first row that was trained on, as arguments of the model's forward, (1, T) each.

    For a reward model it is cut at BEGINNINGS places, the first row of the batch being all of it.
    """
    row = trainer.train_dataset[0]
    answer = next((row[key] for key in ("chosen_ids", "completion_ids") if key in row), [])
    ids = row["input_ids"] if "input_ids" in row else [*row["prompt_ids"], *answer]
    ids = torch.as_tensor(ids[:LENGTH])[None]  # (1, T)
    mask = torch.ones_like(ids)
    if is_reward_model(model):
        lengths = ids.shape[1] - torch.arange(BEGINNINGS) * ids.shape[1] // BEGINNINGS  # (BEGINNINGS,)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()  # (BEGINNINGS, T)
        ids = torch.where(mask == 1, ids, trainer.processing_class.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if is_encoder_decoder(model):
        answer = [token for token in row["labels"] if token >= 0] or row["input_ids"]
        inputs["decoder_input_ids"] = torch.as_tensor(answer[:LENGTH])[None]
    if not is_masked_language_model(model):
        inputs["use_cache"] = False
    return inputs


def logits_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return (T, V) in float32 on the CPU, of a reward model (B, 1); the model is in evaluation mode meanwhile."""
    device = next(model.parameters()).device
    moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
    with evaluating(model), torch.no_grad():
        logits = model(**moved).logits
        return (logits if is_reward_model(model) else logits[0]).float().cpu()


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put a model, and each of its modules, into evaluation mode, and back to what each was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_checkpoint(folder: Path, expected: Probe, trainer: Trainer, command: TrainingCommand) -> None:
    """Load the checkpoint in `folder` by plain transformers, on the CPU, and compare. The main rank alone calls it.

    Raises HeirloomError when its logits are not the trained model's, or when its tokenizer gives other ids. Where less
    memory is free than the checkpoint has bytes, the weights are not compared, which log and record say.
    """
    check_tokenizer(folder, trainer, expected)
    size, free = sum(bytes_of_weights(each) for each in folders_of(folder)), free_memory()
    if free < size:
        note(
            f"checkpoint not compared with the trained model: it has {size:,} bytes, and {free:,} bytes of memory are "
            "free"
        )
        return
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # or ZeRO-3 would wait for the other ranks to load it in parts
    config = load_config(folder)
    kind = architecture(config, command, folder)
    written = kind.from_pretrained(folder, dtype=config.dtype or "auto", **loading())
    with trainer.accelerator.autocast():  # as the trained model was asked
        found = logits_of(written, expected.inputs)
    apart, most = distance(found, expected)
    if not apart <= most:
        raise HeirloomError(
            f"the checkpoint as written is not the model that was trained: loaded by transformers, its logits are "
            f"{apart:.2g} from the trained model's, where {most:.2g} is most in {expected.precision}; nothing was "
            "kept, and training again would end here again: report it with the run's file and the base's config.json"
        )
    note(f"checkpoint compared with the trained model: logits {apart:.1e} apart (at most {most:g})")


def distance(found: torch.Tensor, expected: Probe) -> tuple[float, float]:
    """Return how far logits (T, V) or (B, 1) are from the expected ones, and how far they may be; see EXACT."""
    if found.shape != expected.logits.shape:
        return float("inf"), EXACT
    difference = found - expected.logits
    if expected.precision == "float32":
        return float(difference.abs().max() / expected.logits.abs().max().clamp(min=1)), EXACT
    one_number = expected.logits.shape[-1] == 1
    spread = expected.logits.square().mean().sqrt() if one_number else expected.logits.std()
    spread = spread + torch.finfo(torch.float32).tiny
    return float(difference.square().mean().sqrt() / spread), HALF if expected.precision == "16 bits" else QUANTIZED


def check_tokenizer(folder: Path, trainer: Trainer, expected: Probe) -> None:
    """Raise HeirloomError when the tokenizer that transformers loads from `folder` gives other ids than the trained."""
    trained = trainer.processing_class
    loaded = AutoTokenizer.from_pretrained(folder, **loading())
    row = trained.decode(expected.inputs["input_ids"][0].tolist())
    if difference := first_difference(trained, loaded, (row, *SAMPLES)):
        raise HeirloomError(
            f"the checkpoint's tokenizer is not the one that was trained with: transformers loads it as "
            f"{type(loaded).__name__}, {difference}"
        )


def note(sentence: str) -> None:
    """Say a sentence, and leave it for the execution's record where a launcher writes one."""
    print(sentence, flush=True)
    if folder := os.environ.get("HEIRLOOM_WORK_DIR"):
        (Path(folder) / NOTES).write_text(json.dumps([sentence]), encoding="utf-8")
