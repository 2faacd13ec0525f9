"""Load a checkpoint to use it: a whole model, a quantized one, or an adapter and the base that it names.

An adapter's folder has no config.json, by which peft and plain transformers know that its model is elsewhere: in the
folder `base_model_name_or_path` of its adapter_config.json, as seen from the clone's root. What else the training
decided of the base stands in `base` of heirloom.json: the hash of its weights, in which precision it is loaded, its
pad token.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import heirloom.rank
from heirloom.artifacts import by_hand
from heirloom.distributed import is_first_rank_of_host
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.models.language_models import gives_scores
from heirloom.models.model_facts import read_facts
from heirloom.models.remote_code import loading, loading_from
from heirloom.models.weights import WEIGHTS, weights_hash

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "adapter_config.json"
GENERATION = "generation_config.json"


def is_adapter(checkpoint: Path) -> bool:
    """Say whether a folder holds an adapter alone, whose model is elsewhere."""
    return (checkpoint / ADAPTER).is_file()


def check_checkpoint(checkpoint: Path) -> None:
    """Raise HeirloomError when a folder holds no model, or a model without its weights or tokenizer."""
    if not checkpoint.is_dir():
        raise HeirloomError(f"{checkpoint}: there is no such folder: train it, or `dvc pull` it")
    adapter = is_adapter(checkpoint)
    if adapter and not (base_of(checkpoint) / "config.json").is_file():
        raise HeirloomError(
            f"{checkpoint}: is an adapter of {base_of(checkpoint)}, which holds no model here: `dvc pull` it, run from "
            "the folder that this path starts in, or mend base_model_name_or_path in its adapter_config.json"
        )
    if not adapter and not (checkpoint / "config.json").is_file():
        raise HeirloomError(f"{checkpoint}: holds no model (no config.json)")
    for folder in folders_of(checkpoint):
        if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
            file = "adapter_model" if is_adapter(folder) else "model"
            raise HeirloomError(f"{folder}: holds no weights (no {file}.safetensors): pull or train it again")
    if adapter:
        return
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
    return [checkpoint, base_of(checkpoint)] if is_adapter(checkpoint) else [checkpoint]


def root_of(checkpoint: Path) -> Path:
    """Return the folder of the whole model that a checkpoint stands on: itself, or the base of an adapter."""
    return folders_of(checkpoint)[-1]


def check_base(checkpoint: Path) -> None:
    """Raise HeirloomError when the base of an adapter has other weights than the one that it was trained on.

    By hand alone, and on one rank of a host, as all of the base is read: of a stage the ledger knows all inputs.
    """
    expected = read_facts(checkpoint).get("base", {}).get("weights") if is_adapter(checkpoint) else None
    if expected is None or not by_hand() or not is_first_rank_of_host():
        return
    if weights_hash(base_of(checkpoint)) != expected:
        raise HeirloomError(
            f"{checkpoint}: is an adapter of {base_of(checkpoint)} with other weights than are there now "
            f"(heirloom.json has {expected}): bring those back (`dvc pull`), or train the adapter again"
        )


def load_config(checkpoint: Path) -> PreTrainedConfig:
    """Return the configuration of a checkpoint's model; of an adapter's base as the training had it.

    Raises HeirloomError as `check_checkpoint` does.
    """
    check_checkpoint(checkpoint)
    model = root_of(checkpoint)
    with loading_from(model):
        config = AutoConfig.from_pretrained(model, **loading())
    decided = read_facts(checkpoint).get("base", {}) if is_adapter(checkpoint) else {}
    if isinstance(dtype := getattr(torch, str(decided.get("dtype")), None), torch.dtype):
        config.dtype = dtype
    if "pad_token_id" in decided:
        config.pad_token_id = decided["pad_token_id"]
    return config


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
    checkpoint: Path,
    dtype: str,
    attention: str | None = None,
    device: torch.device | None = None,
    *,
    scores: bool = False,
) -> PreTrainedModel:
    """Return a checkpoint's model, an adapter merged into its base; `dtype` auto: as it was saved.

    `attention`: an `attn_implementation` of transformers, None its own choice. The weights are read straight to
    `device` (None: the CPU), so that 16 GB of them need no 16 GB of main memory beside the GPU; bitsandbytes chooses
    the rank's own for quantized ones. `scores`: it is to be a reward model, and not one that predicts tokens.

    Under ZeRO-3 (transformers' HfDeepSpeedConfig) each rank gets its part. Raises HeirloomError for a folder without
    a model, for one of the other kind, and for a quantized one that cannot run here.
    """
    config = load_config(checkpoint)
    check_kind(checkpoint, config, scores)
    chosen: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    adapter = is_adapter(checkpoint)
    if adapter:
        heirloom.rank.allow("peft")
        check_base(checkpoint)
        chosen["config"] = config
    if was_saved_quantized(config):
        heirloom.rank.allow("bitsandbytes")
    writing = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    architecture = AutoModelForSequenceClassification if scores else writing
    place = root_of(checkpoint)
    if device is not None and device.type != "cpu" and not was_saved_quantized(config):
        chosen["device_map"] = {"": device}
    with loading_from(place):
        model = architecture.from_pretrained(place, dtype=dtype, **loading(), **chosen)
    if adapter:
        model = with_saved_adapter(model, checkpoint).merge_and_unload()
        take_generation_config(model, checkpoint)
    return model.eval()


def check_kind(checkpoint: Path, config: PreTrainedConfig, scores: bool) -> None:
    """Raise HeirloomError where a model that predicts tokens is wanted and this is a reward model, or the reverse.

    transformers would load either as the other, with random numbers for what is not there.
    """
    if gives_scores(config) and not scores:
        raise HeirloomError(
            f"{checkpoint}: is a reward model, which gives a text one number and writes nothing: use a run with "
            "another trainer"
        )
    if scores and not gives_scores(config):
        found = ", ".join(config.architectures or ("no class",))
        raise HeirloomError(f"{checkpoint}: is no reward model ({found}): train one with trainer: reward")


def take_generation_config(model: PreTrainedModel, adapter: Path) -> None:
    """Give a model the generation config that lies beside its adapter, where one does."""
    if (adapter / GENERATION).is_file():
        with loading_from(adapter):
            model.generation_config = GenerationConfig.from_pretrained(adapter)


def with_saved_adapter(base: PreTrainedModel, adapter: Path) -> "PeftModel":
    """Return a base with an adapter from a folder, the two of a pair of tied layers apart if one is adapted.

    The weights of the two are added or multiplied where the base's are. Raises HeirloomError for damaged files.
    """
    from peft import PeftModel

    with loading_from(adapter):
        adapted = PeftModel.from_pretrained(base, str(adapter), torch_device=str(base.device))
    untie_adapted(adapted)
    return adapted


def untie_adapted(model: "PeftModel") -> None:
    """Give the output layer weights of its own where it shares them with an embedding and one of the two is adapted.

    Training adds an adapter's update to what one of the two computes, and merging would add it to the weights of both.
    """
    base = model.get_base_model()
    into, out = base.get_input_embeddings(), base.get_output_embeddings()
    if out is None:
        return
    layers = [getattr(module, "base_layer", module) for module in (into, out)]
    adapted = [hasattr(module, "base_layer") for module in (into, out)]
    if layers[0].weight is layers[1].weight and any(adapted):
        weight = layers[1].weight.detach()
        layers[1].weight = torch.nn.Parameter(weight if is_hollow(weight) else weight.clone(), requires_grad=False)
        base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False


def is_hollow(tensor: torch.Tensor) -> bool:
    """Say whether a tensor has a shape and no values of its own."""
    return tensor.is_meta or (tensor.numel() > 1 and not any(tensor.stride()))
