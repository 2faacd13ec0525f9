"""A model's own architecture with two layers, small widths and random weights: what stands in for the real one."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from heirloom.config.sections.init import InitSection
from heirloom.config.sections.source import ModelSource
from heirloom.errors import HeirloomError
from heirloom.models.fetching import TOKENIZER_FILES, fetch
from heirloom.models.fresh_models import initialise_model
from heirloom.models.remote_code import loading, loading_from, trust

FILES = (*TOKENIZER_FILES, "config.json", "generation_config.json", "*.py")
"""What is fetched of a source: no weights."""
LAYERS = 2
HEAD = 16
SIZES = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("hidden_size", "embedding_size", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("intermediate_size", "d_ff", "n_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 128),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("head_dim", "global_head_dim", "d_kv", "query_pre_attn_scalar"), HEAD),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "v_head_dim", "qk_nope_head_dim"), HEAD),
    **dict.fromkeys(("qk_rope_head_dim", "rotary_dim"), HEAD),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 32),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("hidden_size_per_layer_input",), 8),
    **dict.fromkeys(("n_group", "topk_group"), 1),
}
"""transformers' names → the most that the stand-in has of it; a model that has less keeps that."""
A_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type")
"""Lists with an entry a layer."""


def make_stand_in(source: ModelSource, folder: Path, trusted: bool) -> None:
    """Write to `folder`, which is made, the tokenizer's files of a source and a small model of its architecture.

    Raises HeirloomError when the source cannot be read, and for an architecture that has no small form.
    """
    fetch(source, folder, FILES)
    place = source.hub or source.s3 or source.path
    if not (folder / "config.json").is_file():
        raise HeirloomError(f"source: {place} has no config.json, which says what model it is")
    trust(trusted)
    with loading_from(folder):
        config = AutoConfig.from_pretrained(folder, **loading())
    make_small(config)
    try:
        model = initialise_model(config, seed=0)
        check_fits_together(model)
    except Exception as error:
        raise HeirloomError(no_small_form(config.model_type, place, " ".join(str(error).split()))) from error
    model.save_pretrained(folder)


def check_fits_together(model: PreTrainedModel) -> None:
    """Raise whatever a pass over a few tokens raises: sizes that do not go together are often seen there first."""
    tokens = torch.arange(8).unsqueeze(0)  # (1, 8)
    with torch.no_grad():
        model(input_ids=tokens, **({"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}))


def sizes_of_fresh_weights(section: InitSection) -> dict[str, Any]:
    """Return the keys of `init` with which its model is small, those that the section has and those that it leaves."""
    given = section.passed_through
    try:
        config = AutoConfig.for_model(section.model_type, **copy.deepcopy(given))
        before = json.loads(config.to_json_string(use_diff=False))
        make_small(config)
    except (StrictDataclassError, ValueError) as error:
        raise HeirloomError(no_small_form(section.model_type, "init", " ".join(str(error).split()))) from error
    after = json.loads(config.to_json_string(use_diff=False))
    names = {native: name for name, native in config.attribute_map.items()}
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return {names[key] if names.get(key) in given else key: value for key, value in changed.items()}


def make_small(config: PreTrainedConfig) -> None:
    """Give a configuration two layers and small widths, its parts (of text, of images) too.

    What makes an architecture what it is stays: whether heads share keys and values, which kinds of layers there are,
    how many experts a token meets, the vocabulary, the special tokens.
    """
    heads, shared = getattr(config, "num_attention_heads", None), getattr(config, "num_key_value_heads", None)
    kinds = {name: distinct(value) for name, value in vars(config).items() if name in A_LAYER and value}
    for name, most in SIZES.items():
        value = getattr(config, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
            setattr(config, name, most)
    for name, values in kinds.items():
        setattr(config, name, values)
    if isinstance(shared, int) and isinstance(heads, int):
        few = {1: 1, heads: config.num_attention_heads}.get(shared, 2)
        config.num_key_value_heads = min(few, config.num_attention_heads)
    shorten_rotations(config)
    for part in vars(config).values():
        if isinstance(part, PreTrainedConfig):
            make_small(part)


def distinct(kinds: list) -> list:
    """Return one entry for each of two layers, of as many different kinds as there are."""
    found = list(dict.fromkeys(kinds))[:LAYERS]
    return found + found[-1:] * (LAYERS - len(found)) if found else found


def shorten_rotations(config: PreTrainedConfig) -> None:
    """Cut the lists of rotary factors, which have an entry for each pair of a head's numbers."""
    parameters = getattr(config, "rope_parameters", None)
    width = getattr(config, "head_dim", None) or HEAD
    for name in ("short_factor", "long_factor"):
        if isinstance(parameters, dict) and isinstance(parameters.get(name), list):
            parameters[name] = parameters[name][: width // 2]


def no_small_form(model_type: str, place: str, reason: str) -> str:
    """Return why an architecture cannot be rehearsed, and what to do."""
    return (
        f"{place}: {model_type} has no form with two layers here ({reason}): rehearse the run on a model of the same "
        "tokenizer and another type, or add its sizes to scripts/heirloom/rehearsal/two_layer_models.py"
    )
