"""How vLLM is to load a checkpoint: the arguments of its engine, for answers of a run and for a server alike."""

import math
from pathlib import Path
from typing import Any

from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu
from heirloom.inference.answers import Answerer
from heirloom.inference.vllm.hollow_model import saved_dtype
from heirloom.json_files import read_json
from heirloom.models.trained_checkpoints import ADAPTER, is_adapter, root_of, was_saved_quantized

RANKS_OF_ADAPTERS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Room that vLLM may keep for an adapter's rank."""
SHARE_OF_CARD = 0.85
"""Of a GPU's memory that vLLM may fill; the stage itself has a little of it."""
ANSWERS_AT_ONCE = 256
LONGEST_UNKNOWN = 4096
"""Tokens of a conversation where the model's config says nothing of its positions."""
CACHE_ON_CPU = (1, 4)
"""GiB for the keys and values of all answers at once on a CPU: at least, at most."""


def engine_arguments(checkpoint: Path, config: Any, section: GenerationSection, longest_text: int) -> dict[str, Any]:
    """Return the arguments of vllm.LLM for a checkpoint; `longest_text`: tokens of a prompt with its answer."""
    root, dtype = root_of(checkpoint), section.default_dtype
    if dtype == "auto":  # vLLM's own would compute in 16 bits what was saved in 32
        dtype = str(config.dtype or saved_dtype(root)).removeprefix("torch.")
    found = {
        "model": str(root),
        "dtype": dtype,
        "load_format": "safetensors" if not was_saved_quantized(config) else "bitsandbytes",
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # none of the checkpoint's defaults
        "max_model_len": longest_text,
        "max_num_seqs": ANSWERS_AT_ONCE,
        "tensor_parallel_size": section.tensor_parallel_size or 1,
        "gpu_memory_utilization": SHARE_OF_CARD,
        "enforce_eager": on_cpu(),  # it would compile for minutes
        "enable_prefix_caching": not section.deterministic,
        "disable_log_stats": True,
        "seed": 0,
    }
    if is_adapter(checkpoint):
        settings = read_json(checkpoint / ADAPTER)
        largest = max([settings["r"], *(settings.get("rank_pattern") or {}).values()])
        room = next(rank for rank in RANKS_OF_ADAPTERS if rank >= largest)
        found |= {"enable_lora": True, "max_lora_rank": room, "max_loras": 1}
    return found


def longest_conversation(answerer: Answerer) -> int:
    """Return the most tokens of a prompt with its answer where it is not known before what will be asked."""
    return answerer.positions or LONGEST_UNKNOWN


def cache_on_cpu(config: Any, longest_text: int, answers: int) -> int:
    """Return the GiB for keys and values that as many answers as vLLM has at once may need, within bounds."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    a_token = 2 * text.num_hidden_layers * heads * size * 4  # bytes, in 32 bits
    needed = a_token * longest_text * min(ANSWERS_AT_ONCE, max(answers, 1))
    least, most = CACHE_ON_CPU
    return min(max(math.ceil(needed / 2**30), least), most)
