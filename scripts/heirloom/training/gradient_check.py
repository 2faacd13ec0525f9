"""`training.deterministic`: does this model, on this machine, give the same gradients twice?

torch refuses what it knows to have no deterministic form. It knows nothing of kernels that come from elsewhere (flash
attention, Triton, bitsandbytes, a model's own code). So the first batch's gradients are computed twice, and compared
byte by byte, before a weight moves.
"""

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import Trainer

from heirloom.distributed import rank, say
from heirloom.errors import HeirloomError

KEPT = ("_metrics", "_stored_metrics", "_total_train_tokens")
"""What TRL's trainers note while they compute a loss (sft_trainer.py, dpo_trainer.py, reward_trainer.py)."""
SUMMED = 1 << 20
"""Numbers of the vector that ranks sum twice."""


def check_first_gradients(trainer: Trainer) -> None:
    """Let the trainer's first step be preceded by the check, on every rank; random numbers stay as they were.

    The step then raises HeirloomError naming the weight whose gradients differ, or that ranks sum in another order.
    """
    step = trainer.training_step

    def checked(model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        trainer.training_step = step
        num_items_in_batch = args[0] if args else kwargs.get("num_items_in_batch")
        compare_gradients(trainer, model, inputs, num_items_in_batch)
        compare_sums(trainer.args.device)
        say("deterministic: the first batch has the same gradients twice, to the last bit")
        return step(model, inputs, *args, **kwargs)

    trainer.training_step = checked


def compare_gradients(
    trainer: Trainer, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
) -> None:
    """Compute the gradients of a batch twice and raise HeirloomError naming a weight for which they differ."""
    model.train()
    bare = trainer.accelerator.unwrap_model(model, keep_torch_compile=True)
    prepared = trainer._prepare_inputs(inputs)
    kept = {name: copy.deepcopy(getattr(trainer, name)) for name in KEPT if hasattr(trainer, name)}

    def loss() -> torch.Tensor:
        with trainer.compute_loss_context_manager():
            return trainer.compute_loss(bare, dict(prepared), num_items_in_batch=num_items_in_batch)

    names = {parameter: name for name, parameter in bare.named_parameters() if parameter.requires_grad}
    first, second = (digests(names, loss, trainer.args.device) for _ in range(2))
    for name, value in kept.items():
        setattr(trainer, name, value)
    for name, digest in first.items():
        if digest != second.get(name):
            raise HeirloomError(
                f"training.deterministic: on rank {rank()} the gradients of {name} differ between two computations of "
                "the first batch: a kernel that torch knows nothing of adds in another order each time; choose "
                "another attn_implementation, leave out use_liger_kernel or quantization, or delete the key"
            )


def digests(
    names: dict[torch.nn.Parameter, str], loss: Callable[[], torch.Tensor], device: torch.device
) -> dict[str, str]:
    """Return weight → hash of its gradient's bytes, in the order of the backward pass.

    No gradient is kept, and none reaches DeepSpeed's or DistributedDataParallel's own sums: each is hashed when it is
    there, and replaced by a zero that takes no memory.
    """
    found: dict[str, str] = {}

    def hashed(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def hook(gradient: torch.Tensor) -> torch.Tensor:
            flat = gradient.detach().contiguous().flatten().view(torch.uint8).cpu()  # (bytes,)
            found[name] = hashlib.blake2b(flat.numpy()).hexdigest()
            return gradient.new_zeros(()).expand(gradient.shape)

        return hook

    hooks = [parameter.register_hook(hashed(name)) for parameter, name in names.items()]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.autograd.grad(loss(), list(names), allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def compare_sums(device: torch.device) -> None:
    """Sum one vector over the ranks twice and raise HeirloomError when the sums differ. Every rank calls it."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    generator = torch.Generator().manual_seed(rank())
    own = torch.randn(SUMMED, generator=generator).to(device)  # (SUMMED,)
    sums = [own.clone(), own.clone()]
    for each in sums:
        torch.distributed.all_reduce(each)
    if not torch.equal(*sums):
        raise HeirloomError(
            "training.deterministic: the ranks sum the same numbers to other results each time, though NCCL_ALGO and "
            "NCCL_PROTO are fixed: train on one GPU, or delete the key"
        )
