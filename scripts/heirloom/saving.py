"""Write a trained model as an artifact: the same training gives the same bytes."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from heirloom.artifacts import new_artifact
from heirloom.distributed import barrier, is_main_rank
from heirloom.errors import HeirloomError
from heirloom.model_facts import FACTS
from heirloom.tokenizer_files import save_tokenizer


def save_checkpoint(trainer: Trainer, output: Path, facts: dict[str, Any], card: str) -> None:
    """Write model (consolidated safetensors, also under ZeRO-3), tokenizer, heirloom.json and model card to `output`.

    The folder loads with plain `AutoModelForCausalLM.from_pretrained`. Every rank calls this: under ZeRO-3 each holds
    a part of the weights. `output` appears whole or not at all.
    """
    weights = gathered_weights(trainer)
    with new_artifact(output) if is_main_rank() else nullcontext() as partial:
        if partial:
            model = trainer.accelerator.unwrap_model(trainer.model)
            model.config.use_cache = True  # the trainer switched it off for itself; generation wants it
            model.save_pretrained(partial, state_dict=weights)
            save_tokenizer(trainer.processing_class, partial)
            write_json(partial / FACTS, facts)
            (partial / "README.md").write_text(card, encoding="utf-8")
            for file in partial.iterdir():
                file.chmod(0o644)  # safetensors writes for its owner alone
    barrier()


def gathered_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return all weights by name on the main rank, tied ones once. Every rank calls this.

    Raises HeirloomError when the DeepSpeed configuration forbids to gather them, and when a weight is no number: the
    last step can ruin a model whose loss was measured before it.
    """
    try:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    except ValueError as error:
        raise HeirloomError(
            "the model cannot be gathered from its ranks: set zero_optimization."
            "stage3_gather_16bit_weights_on_model_save to true in the DeepSpeed configuration"
        ) from error
    tied = trainer.accelerator.unwrap_model(trainer.model).all_tied_weights_keys
    weights = {name: tensor for name, tensor in (weights or {}).items() if name not in tied}
    ruined = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if ruined:
        raise HeirloomError(
            f"the last step left weights that are no numbers ({ruined[0]}): lower training.learning_rate, or "
            "training.max_grad_norm"
        )
    return weights


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
