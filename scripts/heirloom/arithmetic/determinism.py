"""`deterministic: true`: only operations that repeat their results to the last bit, on GPUs too."""

import os

import torch

FIXED = {
    "NCCL_ALGO": "Ring",
    "NCCL_PROTO": "Simple",
    "FLASH_ATTENTION_DETERMINISTIC": "1",
}
"""NCCL chooses its way by what it measures, and each adds in another order; the backward pass of flash attention adds
with atomics unless told otherwise. Sources: NCCL's environment variables; Megatron-LM's --deterministic-mode, which
wants NCCL_ALGO fixed; transformers/modeling_flash_attention_utils.py reads the last."""
WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""What cuBLAS needs to repeat its results; the launcher sets it for every program, by hand it is set here."""


def be_deterministic() -> None:
    """Let torch refuse every operation that has no deterministic form, and fix what libraries choose by themselves.

    Call it before anything is computed. Attention of torch takes a backward pass that repeats its results, or one of
    its other implementations, by the same switch (aten/src/ATen/native/transformers/cuda/sdp_utils.cpp).
    """
    os.environ.update(FIXED)
    os.environ.setdefault(*WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    fill_nothing()


def fill_nothing() -> None:
    """Do not fill memory that is about to be written: torch does so in its deterministic mode, which only costs time.

    It would show reads of memory that nobody wrote; a run is held to that by computing twice.
    """
    torch.utils.deterministic.fill_uninitialized_memory = False
