"""DeepSpeed-Inference: every layer is split over all ranks, which compute each answer together (tensor parallel)."""

import os

from transformers import PreTrainedConfig, PreTrainedModel

from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu, start_deepspeed
from heirloom.errors import HeirloomError
from heirloom.failures import is_disk, is_memory
from heirloom.models.trained_checkpoints import was_saved_quantized

INJECTABLE = ("bloom", "gpt_neo", "gptj")
"""Model types whose layers DeepSpeed's kernels can stand in for: its layer returns a tuple, and transformers 5 goes on
with what the layers of all others return as it is (GPT-2, GPT-NeoX, Llama, OPT)."""


def check_tensor_parallel(config: PreTrainedConfig, section: GenerationSection, ranks: int) -> None:
    """Raise HeirloomError for a model whose heads the ranks cannot share, and for kernels that this machine lacks."""
    if section.replace_with_kernel_inject and config.model_type not in INJECTABLE:
        raise HeirloomError(
            f"generation.replace_with_kernel_inject: DeepSpeed's kernels cannot stand in for the layers of a "
            f"{config.model_type} model under this version of transformers (they can for {', '.join(INJECTABLE)}): "
            "delete it; engine: deepspeed splits the model without them, engine: continuous is the faster one"
        )
    if section.replace_with_kernel_inject and on_cpu():
        raise HeirloomError(
            "generation.replace_with_kernel_inject: DeepSpeed's kernels run on GPUs only, and this machine has none: "
            "delete it"
        )
    text = config.get_text_config()
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(text, name, None)
        if heads is not None and heads % ranks:
            raise HeirloomError(
                f"generation.engine: deepspeed shares a model's heads among the ranks, and {ranks} ranks cannot share "
                f"{heads} ({name}): use as many ranks as divide it, or engine: deepspeed_zero"
            )
    if was_saved_quantized(config):
        raise HeirloomError("generation.engine: deepspeed cannot split quantized weights: use engine: accelerate")


def split_over_ranks(model: PreTrainedModel, section: GenerationSection, ranks: int) -> PreTrainedModel:
    """Return the model with its layers split; all ranks call this, after torch.distributed has started.

    Raises HeirloomError when DeepSpeed cannot split a model of this kind.
    """
    # csrc/cpu/comm reads it where torchrun is not the `deepspeed` launcher, which would have set it
    os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    start_deepspeed()
    import deepspeed

    try:
        engine = deepspeed.init_inference(
            model,
            tensor_parallel={"tp_size": ranks},
            dtype=model.dtype,
            replace_with_kernel_inject=section.replace_with_kernel_inject,
        )
    except Exception as error:
        if is_memory(error) or is_disk(error):
            raise
        raise HeirloomError(
            f"generation.engine: deepspeed cannot split a {model.config.model_type} model over the ranks ({error}): "
            "use engine: deepspeed_zero"
        ) from error
    return engine.module
