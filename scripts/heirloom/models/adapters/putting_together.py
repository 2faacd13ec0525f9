"""Put an adapter and its base together to a whole model in a folder, file by file where the base's files allow it.

For a training that starts from an adapter (quantized, sharded over ranks or not, it loads the base as from any folder),
for one that is asked for the merged model, and for `scripts/merge_adapter.py`.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import PrefixChange

import heirloom.rank
from heirloom.failures import first_line
from heirloom.models.adapters.shard_merging import ShardMerge, needs_all_of_the_base, without_weights
from heirloom.models.remote_code import loading, loading_from
from heirloom.models.tokenizer_files import save_tokenizer
from heirloom.models.trained_checkpoints import (
    check_base,
    load_config,
    load_tokenizer,
    root_of,
    take_generation_config,
    with_saved_adapter,
)
from heirloom.models.weights import SHARD

Model = ShardMerge | PreTrainedModel


def put_together(
    base: Path,
    adapter: Path,
    hollow: Callable[[], PreTrainedModel],
    whole: Callable[[], PreTrainedModel],
    reason: str | None = None,
) -> Model:
    """Return the merge of an adapter, or the merged model where the base's files do not allow that; the log says why.

    `hollow` gives the model of `base` on the device "meta" and `whole` loads it. `reason`: why all of it is needed, if
    that is known.
    """
    if reason is None:
        try:
            adapted = with_saved_adapter(without_weights(hollow(), adapter), adapter)
            reason = needs_all_of_the_base(base, adapted)
            if reason is None:
                return ShardMerge(base, adapted)
        except (NotImplementedError, RuntimeError, ValueError) as error:  # what turns weights into a checkpoint's
            reason = first_line(error)
    print(f"{base}: all of it is loaded to merge the adapter: {reason}", flush=True)
    return with_saved_adapter(whole(), adapter).merge_and_unload()


def model_of(merge: Model) -> PreTrainedModel:
    """Return the model behind a merge: of one file by file, without most of its weights."""
    return merge.model if isinstance(merge, ShardMerge) else merge


def write_model(merge: Model, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Write configuration and weights (`weights`, or those that it holds) to `folder`."""
    if isinstance(merge, ShardMerge):
        merge.model.save_pretrained(folder, state_dict={})  # all but weights
        merge.write(folder)
    else:
        merge.save_pretrained(folder, state_dict=weights, max_shard_size=SHARD)


def hollow_model(config: PreTrainedConfig, kind: type, asked: str = "auto") -> PreTrainedModel:
    """Return a model on the device "meta": its shapes, and no memory. `asked`: a `dtype` of transformers.

    Raises ValueError, with the reason, where the types of its weights are not known without loading them.
    """
    dtype = config.dtype if asked == "auto" else getattr(torch, asked)
    if dtype is None:
        raise ValueError("its config.json names no dtype")
    trusted = {"trust_remote_code": loading()["trust_remote_code"]}
    with torch.device("meta"):
        model = kind.from_config(config, dtype=dtype, **trusted)
    wide = model._keep_in_fp32_modules_strict or (dtype == torch.float16 and model._keep_in_fp32_modules)
    if wide and dtype != torch.float32:
        raise ValueError(f"transformers keeps its {', '.join(sorted(wide))} in float32")
    conversions = get_model_conversion_mapping(model, add_legacy=False)
    model._weight_conversions = [each for each in conversions if not isinstance(each, PrefixChange)]  # as when it loads
    return model


def write_whole_model(checkpoint: Path, folder: Path) -> None:
    """Write to `folder` the model and the tokenizer that an adapter's checkpoint stands for, as a merged checkpoint.

    Raises HeirloomError as `load_model` of heirloom.models.trained_checkpoints does.
    """
    heirloom.rank.allow("peft")
    base, config = root_of(checkpoint), load_config(checkpoint)
    check_base(checkpoint)
    kind = architecture_of(config)

    def whole() -> PreTrainedModel:
        return kind.from_pretrained(base, config=config, dtype="auto", **loading())

    with loading_from(base):
        merge = put_together(base, checkpoint, lambda: hollow_model(config, kind), whole)
    model = model_of(merge)
    model.config.use_cache = True  # as a training leaves it
    take_generation_config(model, checkpoint)
    write_model(merge, folder)
    save_tokenizer(load_tokenizer(checkpoint), folder)


def architecture_of(config: PreTrainedConfig) -> type:
    """Return the class that loads a language model of a configuration, whatever its kind."""
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    masked = any(name.endswith("ForMaskedLM") for name in config.architectures or ())
    return AutoModelForMaskedLM if masked else AutoModelForCausalLM
