"""The shape of a model as its config.json tells it, without torch: how many weights it has, and where.

Decoders of one build are known: root-mean-square norms, attention with q, k, v and o, a gated MLP of three matrices,
as Llama (https://arxiv.org/abs/2302.13971) and those after it have. Of others nothing is told, rather than something
wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heirloom.estimates.model_flops import EXPERTS, ModelFlops

LLAMA = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None, "tie_word_embeddings": False,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "mistral": LLAMA | {"intermediate_size": 14336, "num_key_value_heads": 8},
    "qwen2": LLAMA | {"vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32},
    "qwen3": LLAMA
    | {"vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32, "head_dim": 128},
    "gemma": LLAMA
    | {
        "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "tie_word_embeddings": True,
    },
    "gemma3_text": LLAMA
    | {
        "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""Model type → what transformers 5.23 takes for keys that a config.json leaves out."""
HEAD_NORMS = ("qwen3", "gemma3_text")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder, under the letters that formulas have: L layers, h hidden, H heads of size Q, and so on."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    small: int = 0
    """Biases of a block, and norms of its heads."""
    head_norms: bool = False
    """Queries and keys have norms of their own, head by head."""
    norms: int = 2
    """Norms of a block beside these: two, or another after attention and after the MLP."""
    wide_norms: bool = False
    """Norms multiply by their weights in 32 bits, as Gemma's do."""
    rotations: int = 1
    """Kinds of rotary positions: another for layers that see a window."""
    scores: bool = False
    """A reward model: in place of the output layer a head of one number."""

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Name of each linear layer of a block → (in, out)."""
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        sizes = [(self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden)]
        sizes += [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return dict(zip(PROJECTIONS, sizes, strict=True))

    @property
    def linear(self) -> int:
        """Weights of all linear layers but the output layer: those that 4 and 8 bits and adapters are for."""
        return self.layers * sum(into * out for into, out in self.projections.values())

    @property
    def layer(self) -> int:
        """Weights of one block."""
        return self.linear // self.layers + self.norms * self.hidden + self.small

    @property
    def embedding(self) -> int:
        """Weights of the input embedding; an output layer of its own has as many."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights; a tied output layer counts once."""
        output = self.hidden if self.scores else 0 if self.tied else self.embedding
        return self.embedding + output + self.layers * self.layer + self.hidden

    def adapter(self, rank: int, targets: list[str] | None) -> int:
        """Return the weights of a low-rank adapter on the named layers (None: all linear ones), and of a head."""
        chosen = [sizes for name, sizes in self.projections.items() if targets is None or name in targets]
        head = self.hidden if self.scores else 0
        return self.layers * sum(rank * (into + out) for into, out in chosen) + head

    def flops(self, trained: int | None = None, reference: bool = False) -> ModelFlops:
        """Return what a training costs a token; `trained` are an adapter's weights, None trains everything."""
        lookup = 0 if self.tied and not self.scores else self.embedding
        weights = self.parameters - lookup
        attention = self.layers * self.heads * self.head_size
        if trained is None:
            return ModelFlops(weights, weights, attention, reference)
        return ModelFlops(weights + trained, trained, attention, reference)


def model_shape(config: Mapping[str, Any]) -> ModelShape | str:
    """Return the shape that a config.json describes, or a sentence that says why it is not known."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        return f"model type {kind} is not among {', '.join(FAMILIES)}, whose sizes are known without torch"
    if any(config.get(name) for name in EXPERTS):
        return f"{kind} is a mixture of experts here, whose sizes are not known without torch"
    sizes = FAMILIES[kind] | {key: value for key, value in config.items() if value is not None}
    numbers = [sizes[key] for key in LLAMA if key != "tie_word_embeddings" and sizes[key] is not None]
    if not all(type(number) is int and number > 0 for number in numbers):
        return f"the sizes of a {kind} that its config.json has are no whole numbers above 0"
    heads, hidden = sizes["num_attention_heads"], sizes["hidden_size"]
    key_value_heads = sizes["num_key_value_heads"] or heads
    head_size = sizes["head_dim"] or hidden // heads
    if not head_size:
        return f"a {kind} of width {hidden} cannot have {heads} heads"
    queries, keys = heads * head_size, key_value_heads * head_size
    biases = queries + 2 * keys if kind == "qwen2" or sizes.get("attention_bias") else 0
    biases += hidden if sizes.get("attention_bias") else 0  # the one of o_proj, which qwen2 has not
    biases += 2 * sizes["intermediate_size"] + hidden if sizes.get("mlp_bias") else 0
    return ModelShape(
        layers=sizes["num_hidden_layers"],
        hidden=hidden,
        intermediate=sizes["intermediate_size"],
        heads=heads,
        key_value_heads=key_value_heads,
        head_size=head_size,
        vocabulary=sizes["vocab_size"],
        tied=bool(sizes["tie_word_embeddings"]),
        small=biases + (2 * head_size if kind in HEAD_NORMS else 0),
        head_norms=kind in HEAD_NORMS,
        norms=4 if kind == "gemma3_text" else 2,
        wide_norms=kind.startswith("gemma"),
        rotations=2 if kind == "gemma3_text" else 1,
    )
