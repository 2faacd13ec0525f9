"""`init:` a model with fresh weights."""

from pydantic import Field

from heirloom.config.parsing.section import PassThroughSection

WITH_TOKENIZER_OF_THEIR_OWN = ("qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen4_exp")
"""Model types beside which transformers reads every tokenizer as Qwen2Tokenizer, whatever its files say: a tokenizer
trained here would give other ids there (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS of tokenization_auto.py)."""


class InitSection(PassThroughSection):
    """Fresh weights; every other key goes to the transformers configuration class of `model_type`."""

    model_type: str = Field(description="architecture, transformers' name: llama, qwen3, t5, …")
    seed: int = Field(0, description="seed of the weights")
    dtype: str = Field("float32", description="type of the saved weights: float32, bfloat16 or float16")
