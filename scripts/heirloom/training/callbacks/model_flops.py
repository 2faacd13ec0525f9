"""Model FLOPs utilization (MFU): which share of a GPU's arithmetic a training makes use of.

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

import torch
from transformers import PreTrainedConfig, Trainer

from heirloom.config.trainers.spec import TrainerSpec
from heirloom.distributed import on_cpu, world_size

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

    def per_token(self, sequence_length: float) -> float:
        """Return the floating-point operations that a training step takes a token."""
        attention = 4 * self.attention * sequence_length
        forward = 2 * self.weights + attention
        backward = 2 * self.weights + 2 * self.trained + 2 * attention
        return forward * (2 if self.reference else 1) + backward


@dataclass(frozen=True)
class Utilization:
    """MFU of one training: `peak` is the FLOP/s of all its GPUs together."""

    flops: ModelFlops
    peak: float
    sequences_per_step: int

    def mfu(self, tokens_per_step: float, tokens_per_second: float) -> float:
        """Return the share, 0 to 1, of the GPUs' peak that the model's operations make up."""
        return tokens_per_second * self.flops.per_token(tokens_per_step / self.sequences_per_step) / self.peak

    def __str__(self) -> str:
        """Tell the convention in one line."""
        frozen = self.flops.weights - self.flops.trained
        terms = [f"6 × {self.flops.trained:,} trained weights"]
        terms += [f"4 × {frozen:,} frozen ones"] if frozen else []
        terms += ["attention (12·L·H·Q·T)"]
        terms += ["the reference's forward pass"] if self.flops.reference else []
        return (
            f"MFU: FLOPs a token = {' + '.join(terms)}, by PaLM's appendix B (arXiv:2204.02311), recomputation not "
            f"counted; peak {self.peak / 1e12:,.0f} TFLOP/s dense bf16"
        )


def utilization(trainer: Trainer, spec: TrainerSpec) -> Utilization | str | None:
    """Return how to compute the MFU of a training; `spec` is the entry of its trainer.

    On a CPU None; where the convention or the peak is not known, a sentence that says which.
    """
    if on_cpu():
        return None
    gpu = torch.cuda.get_device_name()
    peak = peak_flops(gpu)
    if peak is None:
        return f"MFU: not stated, because the peak of {gpu} is not in heirloom/training/callbacks/model_flops.py"
    args = trainer.args
    flops = model_flops(trainer.accelerator.unwrap_model(trainer.model))
    if flops is None:
        return f"MFU: not stated, because its convention does not cover {trainer.model.config.model_type}"
    if not getattr(args, "precompute_ref_log_probs", True):  # of trainers with a reference model only
        flops = ModelFlops(flops.weights, flops.trained, flops.attention, reference=True)
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * world_size()
    return Utilization(flops, peak * world_size(), rows * (2 if spec.takes_pairs else 1))


def model_flops(model: torch.nn.Module) -> ModelFlops | None:
    """Return what the convention counts of a model; None where it does not hold.

    It holds for decoders in which every token meets every weight: not for mixtures of experts, encoder-decoders and
    models without attention.
    """
    attention = attention_size(model.config)
    if attention is None:
        return None
    lookup, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    tied = output is not None and output.weight is lookup
    counted = [parameter for parameter in model.parameters() if tied or parameter is not lookup]
    return ModelFlops(
        weights=sum(size(parameter) for parameter in counted),
        trained=sum(size(parameter) for parameter in counted if parameter.requires_grad),
        attention=attention,
    )


def attention_size(config: PreTrainedConfig) -> int | None:
    """Return layers × heads × head size; None for a model without these or to which the convention does not apply."""
    text = config.get_text_config()
    if config.is_encoder_decoder or any(getattr(text, name, None) for name in EXPERTS):
        return None
    layers, heads = getattr(text, "num_hidden_layers", None), getattr(text, "num_attention_heads", None)
    if not layers or not heads:
        return None
    return layers * heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)


def size(parameter: torch.nn.Parameter) -> int:
    """Return how many weights a parameter stands for, also when ZeRO-3 has scattered or bitsandbytes packed them."""
    count = getattr(parameter, "ds_numel", parameter.numel())
    packed = type(parameter).__name__ == "Params4bit"  # two 4-bit weights a byte, whatever the type of storage
    return count * 2 * parameter.element_size() if packed else count
