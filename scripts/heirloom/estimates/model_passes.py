"""Bytes that a model's passes keep on a GPU: activations, scores, the cache of keys and values.

Read off the graph that autograd keeps of transformers 5.23's decoders (eager norms, scaled-dot-product attention), and
held against fake tensors of the full shape in tests/unit/test_memory_estimates.py. `d` is bytes a number; norms
compute in 32 bits whatever d is.
"""

from dataclasses import dataclass

from heirloom.estimates.model_shape import ModelShape

TILE = 4096, 32768
"""TRL 1.16 computes scores in tiles of so many tokens × words (trl/kernels/chunked_logprob.py)."""
HELD_OUT = 1024
"""Tokens of held-out rows whose scores are in memory at once (heirloom/models/token_losses.py)."""


@dataclass(frozen=True)
class Passes:
    """The passes of one rank: `tokens` are those of one forward pass, both sides of pairs counted, padding too."""

    shape: ModelShape
    tokens: int
    d: int
    frozen: bool = False
    """The base is frozen and an adapter of `rank` is trained on `adapted` of the 7 projections."""
    rank: int = 0
    adapted: int = 0
    casts: bool = False
    """The adapter has 32-bit weights and autocast computes with 16: each adapted layer keeps its own copy of its input,
    and the adapter's weights are there a second time."""
    wide: bool = False
    """What is not quantized of the base is in 32 bits, and so is all that passes between its layers."""

    @property
    def stream(self) -> int:
        """Bytes of a number that passes from block to block."""
        return 4 if self.wide else self.d

    @property
    def norm(self) -> int:
        """What a norm keeps of a token: its input in 32 bits, the normalized input (for its weight), the output.

        Where adapted layers keep copies of the output, on average two and a half of them, it is none of its own.
        """
        if self.casts:
            return self.shape.hidden * 4 + round(5 * self.d * self.shape.hidden * self.adapted / 7) // 2
        return self.shape.hidden * (4 + self.normalized + self.d)

    @property
    def normalized(self) -> int:
        """Bytes of a number that a norm keeps for its weight's gradient."""
        return 0 if self.frozen else 4 if self.shape.wide_norms else self.d

    @property
    def norm_of_output(self) -> int:
        """What a norm after attention or the MLP keeps of a token; its output is added to the stream."""
        return self.shape.hidden * (4 + self.normalized)

    @property
    def layer(self) -> int:
        """What one block keeps for the backward pass.

        Attention keeps q, what it gives, k and v repeated for all heads, and a 32-bit number a head. Norms of q and k
        keep their inputs in 32 bits, and normalized for their weights. The MLP keeps gate, its activation, up and
        their product.
        """
        shape = self.shape
        attention = 4 * self.d * shape.heads * shape.head_size + 4 * shape.heads
        if shape.head_norms:
            heads = shape.heads + shape.key_value_heads
            attention += heads * (shape.head_size * (4 + self.normalized) + 4)
        mlp = (3 * self.stream + self.d) * shape.intermediate
        adapters = self.d * self.rank * self.adapted
        norms = 2 * self.norm + (shape.norms - 2) * self.norm_of_output
        return self.tokens * (norms + attention + mlp + adapters + 4 * shape.norms)

    def kept(self, checkpointing: bool) -> int:
        """Return what a forward pass leaves for the backward pass: all blocks, or the input of each, and the norm.

        Besides, sines and cosines, which all blocks share. A mask (padding, windows) is not counted: a byte a pair.
        """
        last = self.tokens * self.shape.hidden * (4 + self.normalized + self.d)
        last += self.tokens * 2 * self.d * self.shape.head_size * self.shape.rotations
        if checkpointing:
            return self.shape.layers * self.stream * self.shape.hidden * self.tokens + last
        return self.shape.layers * self.layer + last + self.copies

    @property
    def copies(self) -> int:
        """The adapter's weights as autocast keeps them, on all linear layers in the share that is adapted."""
        whole = self.shape.adapter(self.rank, None) * self.adapted / 7
        return round(whole * self.d) if self.casts else 0

    def through_a_layer(self, checkpointing: bool) -> int:
        """Return what the backward pass holds besides: a block computed again, and gradients of activations.

        The gradient of the last norm takes six 32-bit numbers for each of its inputs; the MLP's that of three products.
        """
        hidden, wide = self.shape.hidden, self.shape.intermediate
        if not checkpointing:
            return self.tokens * max(24 * hidden, 3 * self.stream * wide)
        gradients = max(6 * self.stream * hidden, 2 * (4 if self.casts else self.stream) * wide)
        return self.layer + self.copies // self.shape.layers + gradients * self.tokens

    def whole_scores(self) -> int:
        """Return what transformers' own loss holds at its peak: log-probabilities and two gradients in 32 bits."""
        return 12 * self.shape.vocabulary * self.tokens

    def pair_scores(self) -> int:
        """Return what ORPO holds: scores and gradient whole in the model's precision, and of a part two in 32 bits.

        The softmax of 16-bit scores makes their 32-bit form first (ATen, SoftMax.cpp).
        """
        part = min(self.tokens, HELD_OUT)
        return self.shape.vocabulary * (2 * self.d * self.tokens + 8 * part)

    def tiled_scores(self, trains_output: bool) -> int:
        """Return what TRL's tiles hold in the backward pass: a tile, and gradients that are added up in 32 bits."""
        tile = min(self.tokens, TILE[0]) * min(self.shape.vocabulary, TILE[1]) * self.d
        hidden = self.shape.hidden * self.tokens * (4 + self.d)
        return tile + hidden + (self.shape.embedding * (4 + self.d) if trains_output else 0)

    def held_out(self, whole: bool) -> int:
        """Return what measuring held-out rows holds: scores of a part, in 16 and twice 32 bits (ZeRO-3: all in 16)."""
        part = min(self.tokens, HELD_OUT)
        scores = part * self.shape.vocabulary * (8 + (0 if whole else self.d))
        states = self.tokens * (self.norm + 2 * self.d * self.shape.intermediate)
        if self.shape.scores:
            return states
        return scores + states + (self.d * self.tokens * self.shape.vocabulary if whole else 0)


def cache(shape: ModelShape, sequences: int, length: int, d: int) -> int:
    """Return the bytes of keys and values of so many sequences of so many tokens, prompt and answer."""
    return 2 * shape.layers * shape.key_value_heads * shape.head_size * d * sequences * length
