"""Mixtures of experts on several ranks: an expert runs on a rank only where one of the rank's tokens is sent to it.

DeepSpeed follows the order in which layers run, which must be the same on all ranks. Experts that are one weight
together (most of transformers 5) always run; those that are a layer each do not.
"""

from pathlib import Path

import torch
from transformers import Trainer

from heirloom.distributed import world_size
from heirloom.errors import HeirloomError

LISTS = (torch.nn.ModuleList, torch.nn.ModuleDict)


def blocks_of_experts(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the modules that hold experts and choose among them."""
    return [module for module in model.modules() if isinstance(getattr(module, "experts", None), torch.nn.Module)]


def gather_experts_together(model: torch.nn.Module) -> None:
    """Let ZeRO-3 gather all experts of a block when the block begins, whichever of them its tokens are sent to.

    Rajbhandari et al., DeepSpeed-MoE (arXiv:2201.05596); deepspeed.utils.set_z3_leaf_modules names classes instead.
    """
    from deepspeed.utils import set_z3_leaf_module

    for block in blocks_of_experts(model):
        set_z3_leaf_module(block, True)


def check_experts(trainer: Trainer, base: Path) -> None:
    """Raise HeirloomError where ranks would add up gradients of different experts.

    ZeRO-1 and 2 put gradients into buckets in the order in which they come, and one that is missing on a rank is not
    filled in (DeepSpeed 0.19.8: gloo ends in a collective mismatch, NCCL would wait). ZeRO-0, ZeRO-3 and training
    without DeepSpeed take a missing gradient for 0.
    """
    stage = trainer.args.deepspeed_plugin.zero_stage if trainer.is_deepspeed_enabled else 0
    if stage not in (1, 2) or world_size() == 1:
        return
    for block in blocks_of_experts(trainer.model):
        apart = [
            each for each in (block.experts, *block.experts.children()) if isinstance(each, LISTS) and len(each) > 1
        ]
        if any(weight.requires_grad for each in apart for weight in each.parameters()):
            raise HeirloomError(
                f"{base}: its experts are a layer each ({type(block).__name__}) and run on a rank only where tokens of "
                f"the rank go, of which ZeRO-{stage} would make wrong gradients; use another deepspeed, e.g. zero3"
            )
