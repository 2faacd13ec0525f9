"""Low-rank adapters (LoRA, arXiv:2106.09685; rsLoRA; DoRA): made by the libraries, checked before they are.

TRL's trainers take a LoraConfig and make the adapter themselves; `with_adapter` does the same for transformers'.
"""

from typing import TYPE_CHECKING

from transformers import PreTrainedModel, TrainingArguments, set_seed

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.sections.peft import ALL_LINEAR, PeftSection
from heirloom.errors import HeirloomError
from heirloom.models.language_models import is_encoder_decoder, is_masked_language_model, is_reward_model
from heirloom.training.inputs.joined_weights import check_joined_weights, is_adaptable

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

TASKS = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "reward": "SEQ_CLS", "masked": None}
"""peft's task types; it has none for masked language modelling. With SEQ_CLS the head is trained whole, and saved."""


def lora_config(section: PeftSection | None, model: PreTrainedModel) -> "LoraConfig | None":
    """Return the adapter's configuration, None without a section.

    Raises HeirloomError for modules and weights that the model does not have, naming those that it has.
    """
    if section is None:
        return None
    from peft import LoraConfig

    check_modules("target_modules", section.target_names or [], adaptable_modules(model))
    check_modules("modules_to_save", section.modules_to_save, module_names(model))
    config = LoraConfig(
        r=section.r,
        lora_alpha=section.lora_alpha,
        lora_dropout=section.lora_dropout,
        target_modules=ALL_LINEAR if section.target_names is None else section.target_names,
        target_parameters=section.target_parameters or None,
        modules_to_save=section.modules_to_save or None,
        bias=section.bias,
        use_rslora=section.use_rslora,
        use_dora=section.use_dora,
        ensure_weight_tying=section.ensure_weight_tying,
        task_type=TASKS[kind_of(model)],
    )
    check_joined_weights(section, config, model)
    return config


def kind_of(model: PreTrainedModel) -> str:
    """Return the kind of a model, a key of TASKS."""
    if is_reward_model(model):
        return "reward"
    return "masked" if is_masked_language_model(model) else "seq2seq" if is_encoder_decoder(model) else "causal"


def check_modules(key: str, names: list[str], known: set[str]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise HeirloomError(
            f"peft.{key}: the model has no {', '.join(missing)}; {did_you_mean(missing[0], known, 'it has')}"
        )


def adaptable_modules(model: PreTrainedModel) -> set[str]:
    """Return the last parts of the names of the layers that can get an adapter."""
    return {name.rpartition(".")[2] for name, module in model.named_modules() if is_adaptable(module)}


def module_names(model: PreTrainedModel) -> set[str]:
    """Return the last parts of the names of all layers with weights of their own."""
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if name and any(True for _ in module.parameters(recurse=False))
    }


def with_adapter(
    model: PreTrainedModel, section: PeftSection | None, args: TrainingArguments
) -> "PreTrainedModel | PeftModel":
    """Return the model with a fresh adapter as TRL's trainers make it, for trainers that make none; else the model."""
    config = lora_config(section, model)
    if config is None:
        return model
    from peft import get_peft_model, prepare_model_for_kbit_training

    quantized = has_quantized_weights(model)
    if quantized:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=args.gradient_checkpointing)
    set_seed(args.seed)  # the adapter's first weights are random
    zero3 = args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3
    # ZeRO-3 gathers small parameters together, so they must have one type (https://github.com/huggingface/trl/issues/6089)
    adapted = get_peft_model(model, config, autocast_adapter_dtype=quantized or not zero3)
    if args.gradient_checkpointing:
        adapted.enable_input_require_grads()
        if zero3:  # https://github.com/huggingface/trl/issues/2514
            args.gradient_checkpointing_kwargs = {**(args.gradient_checkpointing_kwargs or {}), "use_reentrant": True}
    return adapted


def has_quantized_weights(model: PreTrainedModel) -> bool:
    """Say whether the model's weights are bitsandbytes' 4-bit or 8-bit numbers."""
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))
