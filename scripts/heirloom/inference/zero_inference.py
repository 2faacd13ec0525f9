"""ZeRO-Inference: each rank holds a part of the weights, on its device, in memory or on a drive, and fetches the rest.

For models that do not fit otherwise (Aminabadi et al., DeepSpeed-Inference, arXiv:2207.00032, section 6).
"""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu, start_deepspeed
from heirloom.models.trained_checkpoints import ADAPTER, load_config, load_model
from heirloom.offloading import check_nvme


def load_partitioned(checkpoint: Path, section: GenerationSection) -> PreTrainedModel:
    """Return a checkpoint's model, partitioned over the ranks while it loads. All ranks call this.

    Raises HeirloomError when there is no model, and when the drive or async_io is not there.
    """
    if section.nvme_path is not None:
        check_nvme(Path(section.nvme_path), "generation.nvme_path", "use cpu_offload")
    config = load_config(checkpoint)
    dtype = config.dtype if section.default_dtype == "auto" else getattr(torch, section.default_dtype)
    settings = zero_settings(section, dtype or torch.float32)
    start_deepspeed()
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    adapter = (checkpoint / ADAPTER).is_file()
    # while an HfDeepSpeedConfig exists, transformers shards what it loads; an adapter is merged while its base is whole
    alive = None if adapter else HfDeepSpeedConfig(settings)
    model = load_model(checkpoint, section.default_dtype, section.attn_implementation)
    model.zero_inference = alive or HfDeepSpeedConfig(settings)
    # a layer's weights come and go together: hooks around each of its parts cost more than they save (benchmarks)
    deepspeed.utils.set_z3_leaf_modules(model, sorted(model._no_split_modules or []))
    engine, *_ = deepspeed.initialize(model=model, config_params=settings)
    engine.module.zero_engine = [engine]  # in a list: a module that is an attribute would become its child
    return engine.module.eval()


def zero_settings(section: GenerationSection, dtype: torch.dtype) -> dict[str, Any]:
    """Return DeepSpeed's configuration of ZeRO-3 without an optimizer."""
    # the linear layer that saves memory for a backward pass costs a third of the time, and there is none
    stage: dict[str, Any] = {"stage": 3, "memory_efficient_linear": False}
    if section.cpu_offload:
        stage["offload_param"] = {"device": "cpu", "pin_memory": not on_cpu()}
    elif section.nvme_path is not None:
        stage["offload_param"] = {"device": "nvme", "nvme_path": section.nvme_path, "pin_memory": not on_cpu()}
    return {
        "train_micro_batch_size_per_gpu": 1,  # of no meaning here, and DeepSpeed wants it
        "zero_optimization": stage,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "fp16": {"enabled": dtype == torch.float16},
    }
