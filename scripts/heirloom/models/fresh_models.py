"""Models with fresh weights."""

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from heirloom.config.arguments.library_arguments import model_configs
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.sections.init import InitSection
from heirloom.errors import HeirloomError

ARCHITECTURES = (AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForMaskedLM)
"""What a model type is trained as: the first of these that it has, see `architecture`."""


def model_config(section: InitSection, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """Return the transformers configuration that `section` describes, fitted to the tokenizer.

    The vocabulary has the tokenizer's size unless the section gives a larger one; the special token ids are the
    tokenizer's. Raises HeirloomError for a model type or a key that transformers does not know (it would
    silently keep an unknown key and ignore it).
    """
    if section.model_type not in CONFIG_MAPPING_NAMES:
        raise HeirloomError(
            f"init.model_type: transformers knows no {section.model_type}; "
            f"{did_you_mean(section.model_type, CONFIG_MAPPING_NAMES)}"
        )
    try:
        defaults = AutoConfig.for_model(section.model_type)
    except (StrictDataclassError, ValueError) as error:
        raise HeirloomError(
            f"init.model_type: {section.model_type} cannot be made from keys alone: {' '.join(str(error).split())}"
        ) from error
    known = {*defaults.to_dict(), *defaults.attribute_map, *model_configs()["models"].get(section.model_type, ())}
    unknown = sorted(set(section.passed_through) - known)
    if unknown:
        raise HeirloomError(
            "; ".join(
                f"init.{key}: {section.model_type} has no such key, {did_you_mean(key, known)}" for key in unknown
            )
        )
    facts = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": section.dtype,
    }
    if defaults.is_encoder_decoder:
        if tokenizer.pad_token_id is None:
            raise HeirloomError(
                f"init.model_type: {section.model_type} starts its answers with the pad token, and the tokenizer has "
                "none: set tokenizer.pad_token"
            )
        facts["decoder_start_token_id"] = tokenizer.pad_token_id  # as in T5, whose configuration has no such default
        if "forced_eos_token_id" in known:
            facts["forced_eos_token_id"] = tokenizer.eos_token_id
    try:
        config = AutoConfig.for_model(section.model_type, **{**facts, **section.passed_through})
    except (StrictDataclassError, ValueError) as error:
        raise HeirloomError(
            f"init: {section.model_type} cannot be made with these keys and this tokenizer: "
            f"{' '.join(str(error).split())}; give the tokenizer the token that is missing, or the key a value"
        ) from error
    check_nested_vocabulary(config, len(tokenizer))
    return config


def check_nested_vocabulary(config: PreTrainedConfig, tokens: int) -> None:
    """Raise HeirloomError when a part of a model has a vocabulary of its own, which is not the tokenizer's.

    Models of text and images, and encoder-decoders made of two models, keep it and the special tokens' ids in a
    configuration within theirs, which nothing fills from the tokenizer.
    """
    for name, part in vars(config).items():
        size = getattr(part, "vocab_size", None) if isinstance(part, PreTrainedConfig) else None
        if size is not None and size != tokens:
            text = f"{config.model_type}_text"
            other = f"use model_type {text}, which is its text model" if text in CONFIG_MAPPING_NAMES else "use another"
            raise HeirloomError(
                f"init.model_type: {config.model_type} keeps a vocabulary of {size:,} in {name}, which is not filled "
                f"from the tokenizer's {tokens:,}: {other}"
            )


def initialise_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Return a model with random weights that depend on nothing but `config` and `seed`; it is made on the CPU.

    Raises HeirloomError for sizes that do not go together.
    """
    kind = architecture(config)
    torch.manual_seed(seed)
    try:
        return kind.from_config(config, dtype=getattr(torch, str(config.dtype).removeprefix("torch.")))
    except (StrictDataclassError, ValueError, ArithmeticError) as error:
        raise HeirloomError(
            f"init: no {config.model_type} has these sizes: {' '.join(str(error).split())}; change one of them"
        ) from error


def architecture(config: PreTrainedConfig) -> type:
    """Return the class that makes a model of `config`; raises HeirloomError when none of ARCHITECTURES does.

    Encoder-decoders (BART) and encoders (BERT) have causal forms too; those come last.
    """
    order = list(ARCHITECTURES)
    if config.is_encoder_decoder or getattr(config, "is_decoder", None) is False:
        order.append(order.pop(0))
    found = next((auto for auto in order if type(config) in auto._model_mapping), None)
    if found is None:
        names = ", ".join(auto.__name__ for auto in ARCHITECTURES)
        raise HeirloomError(f"init.model_type: {config.model_type} is none of {names}: it cannot be trained here")
    return found
