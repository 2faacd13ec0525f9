"""Write a trained model as an artifact: the same training gives the same bytes.

checkpoints/RUN/            the model as plain `AutoModel….from_pretrained` loads it, its tokenizer
├── adapter/                with `peft: {merge: true}`: the adapter alone; the model beside it has it merged in
├── adapter_config.json     with `peft: {merge: false}`: the adapter alone in place of the model; it names its base
├── trainer_state.json      the course of the training, in transformers' form
└── heirloom.json           what the training was
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel, Trainer

from heirloom.artifacts import new_artifact
from heirloom.distributed import barrier, is_main_rank
from heirloom.errors import HeirloomError
from heirloom.models.adapters.putting_together import model_of, write_model
from heirloom.models.adapters.shard_merging import ShardMerge
from heirloom.models.model_facts import FACTS
from heirloom.models.remote_code import loading
from heirloom.models.tokenizer_files import save_tokenizer
from heirloom.models.trained_checkpoints import root_of
from heirloom.training.checkpoints.adapter_saving import (
    facts_of_base,
    has_adapter,
    merge,
    save_adapter,
    save_alone,
)
from heirloom.training.checkpoints.checkpoint_check import check_checkpoint, plain_model
from heirloom.training.checkpoints.trained_state import kept_state, trained_state
from heirloom.training.inputs.training_command import TrainingCommand

STATE = "trainer_state.json"


def save_checkpoint(
    trainer: Trainer,
    command: TrainingCommand,
    facts: dict[str, Any],
    log_history: list[dict[str, Any]],
    card: str,
    kept: Path | None = None,
) -> None:
    """Write model (consolidated safetensors, also under ZeRO-3), adapter, tokenizer, state, facts and card.

    The model is the one in `kept`, a folder that `keep_state` wrote, or the trainer's as it is now. The folder loads
    with plain `AutoModelForCausalLM.from_pretrained`. Every rank calls this: under ZeRO-3 each holds a part. The output
    appears whole or not at all. Raises HeirloomError for weights that are no numbers, for a DeepSpeed configuration
    that forbids to gather them, and for a folder that is not the trained model.
    """
    adapted = has_adapter(trainer)
    state = trained_state(trainer) if kept is None else kept_state(kept) if is_main_rank() else None
    weights = state.weights if state else {}
    check_finite(weights)
    with new_artifact(command.output) if is_main_rank() else nullcontext() as partial:
        if partial and state:
            if adapted and not command.peft.merge:
                save_alone(trainer, weights, command, partial)
                facts = {**facts, "base": facts_of_base(trainer, command, facts["lineage"])}
            elif adapted:
                named = command.base.name if command.base.is_absolute() else command.base.as_posix()
                save_adapter(trainer, weights, named, partial / "adapter")
                save_model(merge(trainer, command, partial / "adapter"), None, partial, command)
            else:
                save_model(plain_model(trainer), weights, partial, command)
            save_tokenizer(trainer.processing_class, partial)
            write_json(partial / FACTS, facts)
            check_checkpoint(partial, state.probe, trainer, command)
            write_json(partial / STATE, trainer_state(trainer, log_history))
            (partial / "README.md").write_text(card, encoding="utf-8")
            usual = (partial / "README.md").stat().st_mode & 0o666  # as the user's umask has it
            for file in partial.rglob("*"):
                if file.is_file():
                    file.chmod(usual)  # safetensors writes for its owner alone
    barrier()


def keep_router_settings(model: PreTrainedModel, command: TrainingCommand) -> None:
    """Set what TRL's SFTTrainer has set for itself back to the base's: whether experts add their router's loss."""
    base = AutoConfig.from_pretrained(root_of(command.base), **loading()).get_text_config()
    config = model.config.get_text_config()
    for key in ("output_router_logits", "router_aux_loss_coef"):
        if hasattr(base, key):
            setattr(config, key, getattr(base, key))


def save_model(
    model: PreTrainedModel | ShardMerge, weights: dict[str, torch.Tensor] | None, folder: Path, command: TrainingCommand
) -> None:
    """Write a model's configuration and weights (`weights`, or those that it holds) to `folder`."""
    itself = model_of(model)
    keep_router_settings(itself, command)
    itself.config.use_cache = True  # the trainer switched it off for itself; generation wants it
    write_model(model, folder, weights)


def check_finite(weights: dict[str, torch.Tensor]) -> None:
    """Raise HeirloomError when a weight is no number: the last step can ruin a model that was measured before it."""
    ruined = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if ruined:
        raise HeirloomError(
            f"the last step left weights that are no numbers ({ruined[0]}): lower training.learning_rate, or "
            "training.max_grad_norm"
        )


def trainer_state(trainer: Trainer, log_history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the end of the training as transformers' TrainerState holds it, without what is no part of a result."""
    state = trainer.state
    kept = ("epoch", "global_step", "max_steps", "num_train_epochs", "num_input_tokens_seen", "train_batch_size")
    return {**{name: getattr(state, name) for name in kept}, "log_history": log_history}


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
