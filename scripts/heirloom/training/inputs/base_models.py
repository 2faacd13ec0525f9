"""Load a base model and its tokenizer for training."""

from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as SCORING_MODELS
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from heirloom.config.arguments.attention import without_gpu
from heirloom.config.arguments.optimizers import zero_stage
from heirloom.distributed import host_number, on_cpu, say
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.models import tokenizer_files
from heirloom.models.adapters.putting_together import hollow_model
from heirloom.models.language_models import gives_scores
from heirloom.models.quantization import bitsandbytes_config, check_narrow_layers, without_repacking
from heirloom.models.remote_code import loading, loading_from, trust
from heirloom.models.trained_checkpoints import check_checkpoint, is_adapter, root_of
from heirloom.models.vocabulary import check_vocabulary, read_vocabulary_size
from heirloom.training.inputs.experts import gather_experts_together
from heirloom.training.inputs.training_command import TrainingCommand


def load_tokenizer(base: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the base model; one without a pad token fills batches with its end token.

    Raises HeirloomError when the folder holds no model, or a tokenizer with ids that the model does not know.
    """
    if is_adapter(base):
        check_checkpoint(base)
    known = read_vocabulary_size(root_of(base))
    tokenizer = tokenizer_files.load_tokenizer(base)
    check_vocabulary(len(tokenizer), known, tokenizer=base, model=base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def base_folder(command: TrainingCommand) -> Path:
    """Return the folder that the base is loaded from: itself, or where an adapter and its base are put together.

    Each host has such a folder while it trains, beside the output (heirloom.training.inputs.adapter_bases).
    """
    if not is_adapter(command.base):
        return command.base
    return command.output.with_name(f".{command.output.name}.base-{host_number()}.partial")


def load_model(command: TrainingCommand) -> PreTrainedModel:
    """Return the base model for training, in the type, width and with the attention that the run asks for.

    Every rank calls it; under ZeRO-3 the weights are sharded while they load. Raises HeirloomError for a base that
    cannot be loaded so, or that is no model for this way of training.
    """
    check_attention(command.training.attn_implementation)
    chosen: dict[str, Any] = {"dtype": trained_dtype(command)}
    if command.quantization:
        chosen["quantization_config"] = bitsandbytes_config(command.quantization)
    elif goes_straight_to_the_gpu(command, chosen["dtype"]):
        chosen["device_map"] = {"": torch.device("cuda", torch.cuda.current_device())}
    model = load_base(command, **chosen)
    if "device_map" in chosen:
        del model.hf_device_map  # the trainer takes a model that has one for spread over several GPUs
    if is_deepspeed_zero3_enabled():
        gather_experts_together(model)
    if command.quantization:
        without_repacking(model)
        if on_cpu():
            check_narrow_layers(model)
    if command.training.ignore_bias_buffers:  # read by DistributedDataParallel, which cannot reduce truth values
        ignored = [name for name, buffer in model.named_buffers() if buffer.dtype == torch.bool]
        model._ddp_params_and_buffers_to_ignore = ignored
    return model


def goes_straight_to_the_gpu(command: TrainingCommand, dtype: str) -> bool:
    """Say whether a base's weights are read to the rank's GPU, and not to main memory first, which may be smaller.

    Not so where ranks share them (ZeRO-3), and where DeepSpeed turns them into 16 bits before it moves them.
    """
    turned = command.deepspeed is not None and dtype == "float32"
    return not on_cpu() and not is_deepspeed_zero3_enabled() and not turned


def load_base(command: TrainingCommand, **chosen: Any) -> PreTrainedModel:
    """Return the base model in its own precision; `chosen` are more arguments of `from_pretrained`."""
    section, base = command.training, base_folder(command)
    if section.attn_implementation:
        chosen["attn_implementation"] = section.attn_implementation
    chosen |= head_of(command)
    zero3 = " under ZeRO-3 (if another stage loads it, use that)" if is_deepspeed_zero3_enabled() else ""
    with loading_from(base, f" for training{zero3}"):
        _, kind = config_and_architecture(command)
        return kind.from_pretrained(base, **{"dtype": section.default_dtype, **loading(), **chosen})


def base_without_weights(command: TrainingCommand) -> PreTrainedModel:
    """Return the base model in its own precision on the device "meta": its shapes, and no memory.

    Raises ValueError, with the reason, where the types of its weights are not known without loading them.
    """
    with loading_from(base_folder(command)):
        config, kind = config_and_architecture(command)
        return hollow_model(config, kind, command.training.default_dtype)


def config_and_architecture(command: TrainingCommand) -> tuple[PreTrainedConfig, type]:
    """Return the base's configuration and the class that loads it. Raises HeirloomError for one not to be trained."""
    trust(command.training.trust_remote_code)
    config = AutoConfig.from_pretrained(base_folder(command), **loading(), **head_of(command))
    check_not_quantized(config, command.base)
    return config, architecture(config, command, command.base)


def head_of(command: TrainingCommand) -> dict[str, Any]:
    """Return what a configuration is told of the model's head: a reward model gives one number."""
    return {"num_labels": 1} if command.trainer.scores else {}


def trained_dtype(command: TrainingCommand) -> str:
    """Return the type that a base is loaded in to be trained, by transformers' name.

    Small steps are lost in whole weights of 16 bits: at a learning rate of 1e-5 AdamW changes one in fifty of them. So
    `default_dtype: auto` loads in float32 where a base of 16 bits is trained whole and DeepSpeed keeps no float32 copy
    (ZeRO-1 to 3 with bf16 or fp16 do). An explicit type is obeyed, with a warning. Says what it does on the main rank.
    """
    section, base = command.training, base_folder(command)
    config = read_json(base / "config.json")
    saved = config.get("dtype") or config.get("torch_dtype") or config.get("text_config", {}).get("dtype")
    dtype = saved if section.default_dtype == "auto" else section.default_dtype
    narrow = dtype in ("bfloat16", "float16") and command.peft is None
    stage = zero_stage(command.deepspeed) if command.deepspeed else 0
    mixed = section.passed_through.get("bf16") is True or section.passed_through.get("fp16") is True
    if not narrow or (stage and (mixed or section.default_dtype != "auto")):
        return section.default_dtype
    if section.default_dtype != "auto":
        say(
            f"warning: training.default_dtype: {dtype} weights are trained without a copy in float32, in which small "
            "steps are lost: set float32, or a deepspeed of ZeRO-1 to 3"
        )
        return section.default_dtype
    say(f"{base}: is saved in {saved} and trained in float32, or small steps would be lost (default_dtype)")
    return "float32"


def check_not_quantized(config: PreTrainedConfig, base: Path) -> None:
    """Raise HeirloomError for a base that was saved in 4 or 8 bits: an adapter is merged into exact weights."""
    if getattr(config, "quantization_config", None):
        raise HeirloomError(
            f"{base}: was saved quantized, and an adapter that is trained on it could not be merged: use the base in "
            "its own precision, with the section `quantization:`"
        )


def architecture(config: PreTrainedConfig, command: TrainingCommand, base: Path) -> type:
    """Return the class that loads a base: causal, masked (`collator: mlm`) or encoder-decoder language models.

    A reward model is made of a causal one, or of a reward model. Raises HeirloomError for another kind than the
    training wants.
    """
    masked = any(name.endswith("ForMaskedLM") for name in config.architectures or ())
    if command.trainer.scores:
        check_can_score(config, base, masked)
        return AutoModelForSequenceClassification
    if gives_scores(config):
        raise HeirloomError(
            f"{base}: is a reward model, which gives a text one number and predicts no tokens, and trainer: "
            f"{command.trainer.name} trains models that do: use another base"
        )
    if command.training.collator == "mlm":
        if config.is_encoder_decoder or not masked:
            raise HeirloomError(
                f"{base}: is no masked language model ({config.model_type}), which training.collator: mlm is for; "
                "use another base, or collator: default"
            )
        return AutoModelForMaskedLM
    if masked and not config.is_encoder_decoder:
        raise HeirloomError(f"{base}: is a masked language model ({config.model_type}); set training.collator: mlm")
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def check_can_score(config: PreTrainedConfig, base: Path, masked: bool) -> None:
    """Raise HeirloomError for a base of which transformers makes no model that scores a text at its end."""
    own = "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {})
    if config.is_encoder_decoder or masked or (type(config) not in SCORING_MODELS and not own):
        raise HeirloomError(
            f"{base}: a reward model is made of a causal model of which transformers has a form for sequence "
            f"classification, and this is a {config.model_type} ({', '.join(config.architectures or ('no class',))}): "
            "use another base"
        )


def check_attention(name: str | None) -> None:
    """Raise HeirloomError for attention that this machine cannot train with."""
    if name is not None and on_cpu() and (problem := without_gpu(name)):
        raise HeirloomError(problem)
