"""`shape:` the sizes of a model that is fetched from elsewhere, for the plan before it is here."""

from pydantic import Field

from heirloom.config.parsing.section import Section


class ShapeSection(Section):
    """What its config.json says, under the same names; once the model is here its own file counts."""

    model_type: str = Field(description="architecture, transformers' name: llama, qwen3, …")
    dtype: str = Field("bfloat16", description="type of the saved weights: float32, bfloat16 or float16")
    vocab_size: int = Field(ge=1, description="entries of the vocabulary")
    hidden_size: int = Field(ge=1, description="width of the residual stream")
    intermediate_size: int = Field(ge=1, description="width of the MLP")
    num_hidden_layers: int = Field(ge=1, description="blocks")
    num_attention_heads: int = Field(ge=1, description="heads")
    num_key_value_heads: int | None = Field(None, ge=1, description="heads of keys and values; absent: as many")
    head_dim: int | None = Field(None, ge=1, description="size of a head; absent: hidden_size / num_attention_heads")
    tie_word_embeddings: bool = Field(False, description="the output layer is the input embedding")
