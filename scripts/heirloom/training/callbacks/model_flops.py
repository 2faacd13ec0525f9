"""Model FLOPs utilization (MFU): which share of a GPU's arithmetic a training makes use of.

What is counted: heirloom/estimates/model_flops.py.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, Trainer

from heirloom.config.trainers.spec import TrainerSpec
from heirloom.distributed import on_cpu, world_size
from heirloom.estimates import model_flops as convention
from heirloom.estimates.model_flops import ModelFlops, peak_flops
from heirloom.training.inputs.parameter_counts import size


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
        return f"MFU: not stated, because the peak of {gpu} is not in heirloom/estimates/model_flops.py"
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
    try:
        return None if config.is_encoder_decoder else convention.attention_size(config.get_text_config())
    except RuntimeError:  # transformers' own, where one number stands for layers that differ
        return None
