"""Write a trained model as an artifact: the same training gives the same bytes."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from transformers import Trainer

from heirloom.artifacts import new_artifact
from heirloom.distributed import barrier, is_main_rank
from heirloom.errors import HeirloomError

FACTS = "heirloom.json"
LEFT_OUT = ("training_args.bin", "README.md")
"""What trainers put beside a model: holds paths and times."""


def save_checkpoint(trainer: Trainer, output: Path, facts: dict[str, Any]) -> None:
    """Write model (consolidated safetensors, also under ZeRO-3), tokenizer and heirloom.json to `output`.

    The folder loads with plain `AutoModelForCausalLM.from_pretrained`. Every rank calls this: under ZeRO-3 each holds
    a part of the weights. `output` appears whole or not at all.
    """
    with new_artifact(output) if is_main_rank() else nullcontext(output) as partial:
        trainer.save_model(str(partial))
        if is_main_rank():
            for name in LEFT_OUT:
                (partial / name).unlink(missing_ok=True)
            if not any(partial.glob("*.safetensors")):
                raise HeirloomError(
                    "the model could not be gathered from its ranks: set zero_optimization."
                    "stage3_gather_16bit_weights_on_model_save to true in the DeepSpeed configuration"
                )
            for file in partial.iterdir():
                file.chmod(0o644)
            write_json(partial / FACTS, facts)
    barrier()


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
