"""The kinds of language model, told apart by what their labels mean: causal, masked, encoder-decoder."""

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

POSITIONS = ("max_position_embeddings", "max_seq_len")
"""What configurations call the longest text; the second is MPT's."""


def longest_text(config: PreTrainedConfig) -> int | None:
    """Return how many tokens a model was made for; None when it does not say, or has no limit (XLNet's is -1)."""
    given = [getattr(config, name, None) for name in POSITIONS]
    return next((number for number in given if number is not None and number > 0), None)


def without_adapter(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model itself, with the layers of an adapter in it, where peft has wrapped an adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def class_name(model: PreTrainedModel) -> str:
    """Return the name of the model's class, of the base where an adapter is wrapped around it."""
    return type(without_adapter(model)).__name__


def is_encoder_decoder(model: PreTrainedModel) -> bool:
    """Say whether the model reads a source and writes a target (T5, BART): a label belongs to its own position."""
    return bool(model.config.is_encoder_decoder)


def is_masked_language_model(model: PreTrainedModel) -> bool:
    """Say whether the model predicts masked tokens, not the next one (transformers counts BART among them too)."""
    name = class_name(model)
    masked = name in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values() or name.endswith("ForMaskedLM")
    return masked and not is_encoder_decoder(model)


def gives_scores(config: PreTrainedConfig) -> bool:
    """Say whether a checkpoint is a reward model: it gives a text one number, and predicts no tokens."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def is_reward_model(model: PreTrainedModel) -> bool:
    """Say whether the model gives a text one number, and predicts no tokens."""
    return class_name(model).endswith("ForSequenceClassification")


def predicts_next_token(model: PreTrainedModel) -> bool:
    """Say whether the output at a position is for the label of the next one: causal models, given unshifted labels."""
    return not is_encoder_decoder(model) and not is_masked_language_model(model)
