"""Load a base model and its tokenizer for training."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from heirloom.config.arguments.attention import without_gpu
from heirloom.config.sections.training import TrainingSection
from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.models import tokenizer_files
from heirloom.models.quantization import bitsandbytes_config, check_narrow_layers, without_repacking
from heirloom.models.remote_code import loading, loading_from, trust
from heirloom.models.vocabulary import check_vocabulary, read_vocabulary_size
from heirloom.training.inputs.training_command import TrainingCommand


def load_tokenizer(base: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the base model; one without a pad token fills batches with its end token.

    Raises HeirloomError when the folder holds no model, or a tokenizer with ids that the model does not know.
    """
    known = read_vocabulary_size(base)
    tokenizer = tokenizer_files.load_tokenizer(base)
    check_vocabulary(len(tokenizer), known, tokenizer=base, model=base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(command: TrainingCommand) -> PreTrainedModel:
    """Return the base model for training, in the type, width and with the attention that the run asks for.

    Every rank calls it; under ZeRO-3 the weights are sharded while they load. Raises HeirloomError for a base that
    cannot be loaded so, or that is no model for this way of training.
    """
    check_attention(command.training.attn_implementation)
    quantized = {"quantization_config": bitsandbytes_config(command.quantization)} if command.quantization else {}
    model = load_base(command, **quantized)
    if command.quantization:
        without_repacking(model)
        if on_cpu():
            check_narrow_layers(model)
    if command.training.ignore_bias_buffers:  # read by DistributedDataParallel, which cannot reduce truth values
        ignored = [name for name, buffer in model.named_buffers() if buffer.dtype == torch.bool]
        model._ddp_params_and_buffers_to_ignore = ignored
    return model


def load_base(command: TrainingCommand, **chosen: Any) -> PreTrainedModel:
    """Return the base model in its own precision; `chosen` are more arguments of `from_pretrained`."""
    section, base = command.training, command.base
    if section.attn_implementation:
        chosen["attn_implementation"] = section.attn_implementation
    trust(section.trust_remote_code)
    try:
        with loading_from(base):
            config = AutoConfig.from_pretrained(base, **loading())
            kind = architecture(config, section, base)
            return kind.from_pretrained(base, dtype=section.default_dtype, **loading(), **chosen)
    except HeirloomError:
        raise
    except (ImportError, ValueError) as error:
        raise HeirloomError(f"{base}: cannot be loaded for training: {first_line(error)}") from error


def architecture(config: PreTrainedConfig, section: TrainingSection, base: Path) -> type:
    """Return the class that loads a base: causal, masked (`collator: mlm`) or encoder-decoder language models."""
    masked = any(name.endswith("ForMaskedLM") for name in config.architectures or ())
    if section.collator == "mlm":
        if config.is_encoder_decoder or not masked:
            raise HeirloomError(
                f"{base}: is no masked language model ({config.model_type}), which training.collator: mlm is for; "
                "use another base, or collator: default"
            )
        return AutoModelForMaskedLM
    if masked and not config.is_encoder_decoder:
        raise HeirloomError(f"{base}: is a masked language model ({config.model_type}); set training.collator: mlm")
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def check_attention(name: str | None) -> None:
    """Raise HeirloomError for attention that this machine cannot train with."""
    if name is not None and on_cpu() and (problem := without_gpu(name)):
        raise HeirloomError(problem)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
