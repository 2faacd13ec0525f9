"""Load a checkpoint to use it: a whole model, a quantized one, or an adapter beside its base."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import heirloom.rank
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.models.remote_code import loading, loading_from
from heirloom.models.weights import WEIGHTS

ADAPTER = "adapter_config.json"


def check_checkpoint(checkpoint: Path) -> None:
    """Raise HeirloomError when a folder holds no model, or a model without its weights or tokenizer."""
    if not checkpoint.is_dir():
        raise HeirloomError(f"{checkpoint}: there is no such folder: train it, or `dvc pull` it")
    if (checkpoint / ADAPTER).is_file():
        base = base_of(checkpoint)
        if not (base / "config.json").is_file():
            raise HeirloomError(
                f"{checkpoint}: is an adapter of {base}, which holds no model here: run from the folder that this path "
                "starts in, or mend base_model_name_or_path in its adapter_config.json"
            )
        return
    if not (checkpoint / "config.json").is_file():
        raise HeirloomError(f"{checkpoint}: holds no model (no config.json)")
    if not any(file for pattern in WEIGHTS for file in checkpoint.glob(pattern)):
        raise HeirloomError(f"{checkpoint}: holds no weights (no model.safetensors): pull or train it again")
    if not (checkpoint / "tokenizer_config.json").is_file():
        raise HeirloomError(
            f"{checkpoint}: holds no tokenizer (no tokenizer_config.json): copy its model's files there"
        )


def base_of(adapter: Path) -> Path:
    """Return the base that an adapter names, as a path. Raises HeirloomError when its settings are damaged."""
    base = read_json(adapter / ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str):
        raise HeirloomError(f"{adapter / ADAPTER}: names no base (base_model_name_or_path): bring it back")
    return Path(base)


def folders_of(checkpoint: Path) -> list[Path]:
    """Return the folders whose files decide what a checkpoint answers: its own, and the base of an adapter."""
    return [checkpoint, base_of(checkpoint)] if (checkpoint / ADAPTER).is_file() else [checkpoint]


def load_config(checkpoint: Path) -> PreTrainedConfig:
    """Return the configuration of a checkpoint's model. Raises HeirloomError as `check_checkpoint` does."""
    check_checkpoint(checkpoint)
    model = base_of(checkpoint) if (checkpoint / ADAPTER).is_file() else checkpoint
    with loading_from(model):
        return AutoConfig.from_pretrained(model, **loading())


def was_saved_quantized(config: PreTrainedConfig) -> bool:
    """Say whether a checkpoint was saved in 8 or 4 bits."""
    return bool(getattr(config, "quantization_config", None))


def load_tokenizer(checkpoint: Path) -> PreTrainedTokenizerFast:
    """Return a checkpoint's tokenizer; an adapter without one has its base's."""
    own = (checkpoint / "tokenizer_config.json").is_file()
    place = checkpoint if own else base_of(checkpoint)
    with loading_from(place):
        return AutoTokenizer.from_pretrained(place, **loading())


def load_model(
    checkpoint: Path, dtype: str, attention: str | None = None, device: torch.device | None = None
) -> PreTrainedModel:
    """Return a checkpoint's model, an adapter merged into its base; `dtype` auto: as it was saved.

    `attention`: an `attn_implementation` of transformers, None its own choice. The weights are read straight to
    `device` (None: the CPU), so that 16 GB of them need no 16 GB of main memory beside the GPU; bitsandbytes chooses
    the rank's own for quantized ones.

    Under ZeRO-3 (transformers' HfDeepSpeedConfig) each rank gets its part. Raises HeirloomError for a folder without
    a model, and for a quantized one that cannot run here.
    """
    config = load_config(checkpoint)
    adapter = (checkpoint / ADAPTER).is_file()
    if adapter:
        heirloom.rank.allow("peft")
    if was_saved_quantized(config):
        heirloom.rank.allow("bitsandbytes")
    architecture = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    place = base_of(checkpoint) if adapter else checkpoint
    chosen: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    if device is not None and device.type != "cpu" and not was_saved_quantized(config):
        chosen["device_map"] = {"": device}
    with loading_from(place):
        model = architecture.from_pretrained(place, dtype=dtype, **loading(), **chosen)
    if adapter:
        from peft import PeftModel

        with loading_from(checkpoint):
            model = PeftModel.from_pretrained(model, str(checkpoint))
        model = model.merge_and_unload()
    return model.eval()
