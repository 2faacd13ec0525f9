"""The floating-point operations that a model's passes need, and those that a GPU can do.

Convention: Chowdhery et al., 2022, "PaLM" (https://arxiv.org/abs/2204.02311), appendix B. Only the operations that the
model needs are counted, so recomputed activations are not, and a faster kernel raises the number. With

    N  weights that multiply activations: all but the input embedding, which is a lookup (a tied one counts, it is
       the output layer), quantized ones at their full number;  N_t  those of them that are trained
    L layers, H heads, Q head size, T tokens a sequence (the mean of those measured, without padding)

a token costs   2 N + 4 L H Q T              forward: a multiply and an add a weight, and attention's two products
              + 2 N + 8 L H Q T              backward to the activations, which frozen weights need too
              + 2 N_t                        backward to the weights

which is PaLM's 6 N + 12 L H Q T when everything is trained; a frozen weight costs 4 instead of 6, an adapter's own
weights 6. Attention counts all T × T pairs, as PaLM does, though causal kernels compute half of them. DPO adds the
forward pass of its reference model, unless its results were computed before the training.
"""

import re
from dataclasses import dataclass
from typing import Any

PEAKS = (
    (r"B200", 2250e12),  # NVIDIA HGX B200 data sheet: 4.5 P with sparsity
    (r"H200 NVL", 835.5e12),  # NVIDIA H200 data sheet: 1,671 T with sparsity
    (r"H200", 989.5e12),  # NVIDIA H200 data sheet, SXM: 1,979 T with sparsity
    (r"H100 NVL", 835.5e12),  # NVIDIA H100 data sheet: 1,671 T with sparsity
    (r"H100 PCIe", 756.5e12),  # NVIDIA H100 data sheet of 2022: 1,513 T with sparsity
    (r"H100 80GB HBM3", 989.5e12),  # NVIDIA H100 data sheet, SXM: 1,979 T with sparsity
    (r"A100", 312e12),  # NVIDIA A100 data sheet, SXM and PCIe, 40 and 80 GB
    (r"A10G", 70e12),  # NVIDIA A10G data sheet for AWS
    (r"A10", 125e12),  # NVIDIA A10 data sheet
    (r"L40S", 362.05e12),  # NVIDIA L40S data sheet
    (r"L4", 121e12),  # NVIDIA L4 data sheet: 242 T with sparsity
    (r"V100-SXM2", 125e12),  # NVIDIA V100 data sheet; 16-bit floats, it has no bfloat16
    (r"V100-PCIE", 112e12),  # the same
)
"""Part of a GPU's name → its dense bfloat16 operations a second, as its maker states them; the first that fits counts.

Data sheets give many numbers with structured sparsity, which training does not use: half of that is the dense number.
"""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def peak_flops(gpu: str) -> float | None:
    """Return a GPU's dense bfloat16 FLOP/s by its name as CUDA tells it; None for unknown ones and parts (MIG)."""
    if re.search(r"\bMIG\b", gpu):
        return None
    return next((peak for name, peak in PEAKS if re.search(rf"\b{name}\b", gpu)), None)


@dataclass(frozen=True)
class ModelFlops:
    """What the convention above counts of one model; `attention` is L · H · Q."""

    weights: int
    trained: int
    attention: int
    reference: bool = False

    def forward_per_token(self, sequence_length: float) -> float:
        """Return the floating-point operations of a forward pass a token."""
        return 2 * self.weights + 4 * self.attention * sequence_length

    def per_token(self, sequence_length: float) -> float:
        """Return the floating-point operations that a training step takes a token."""
        forward = self.forward_per_token(sequence_length)
        backward = 2 * self.weights + 2 * self.trained + 8 * self.attention * sequence_length
        return forward * (2 if self.reference else 1) + backward


def attention_size(config: Any) -> int | None:
    """Return layers × heads × head size; None for a model without these or to which the convention does not apply.

    `config` has the keys of a config.json as attributes: transformers' PreTrainedConfig of the text model.
    """
    if getattr(config, "is_encoder_decoder", False) or any(getattr(config, name, None) for name in EXPERTS):
        return None
    layers, heads = getattr(config, "num_hidden_layers", None), getattr(config, "num_attention_heads", None)
    if not layers or not heads:
        return None
    return layers * heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
