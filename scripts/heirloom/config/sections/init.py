"""`init:` a model with fresh weights."""

from pydantic import Field

from heirloom.config.parsing.section import PassThroughSection


class InitSection(PassThroughSection):
    """Fresh weights; every other key goes to the transformers configuration class of `model_type`."""

    model_type: str = Field(description="architecture, transformers' name: llama, qwen3, t5, …")
    seed: int = Field(0, description="seed of the weights")
    dtype: str = Field("float32", description="type of the saved weights: float32, bfloat16 or float16")
