"""Keys of transformers' and TRL's argument classes that a `training:` or `generation:` section cannot take, and why.

Three kinds: settings that leave the result as it is (they belong to sections outside a stage's identity), settings
that the workflow makes itself, and names that the pinned versions no longer have.
"""

from collections.abc import Container

TRACKING = (
    "log_level",
    "log_level_replica",
    "logging_first_step",
    "logging_steps",
    "num_completions_to_print",
    "project",
    "report_to",
    "run_name",
    "save_steps",
    "save_total_limit",
)
RESOURCES = (
    "dataloader_num_workers",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "ddp_timeout",
)

BY_HARDWARE = "the launcher finds the hardware; delete it"
BY_RESUMING = "an interrupted stage resumes by itself from its own checkpoints; delete it"
BY_LEDGER = "DVC stores and pushes results; delete it"
BY_LOADER = "the workflow loads the model from its artifact; use training.default_dtype or training.attn_implementation"
BY_DATASET = "the rows come tokenized and masked from the processed dataset"
BY_DEEPSPEED = "name a file of config/deepspeed/ with `deepspeed:` at the top of the run"
BY_GENERATION = "predict_with_generate goes by the run's section `generation:`"
BY_MEASURING = (
    "held-out rows are measured in the training's own precision, because a model that is cast to be measured would be "
    "saved rounded; delete it, or set bf16: true"
)
BY_LOG = "the stage writes its loss curve by step, and tracking has logging_steps and save_steps; delete it"
AFTER_TRAINING = "the stages of generation and evaluation score the checkpoint; delete it"
BY_TOKENIZER = "the model's tokenizer says it (config/models/); delete it"

BY_TRANSFORMERS = "answers are drawn by transformers, a stream of random numbers for each; delete it"
BY_BATCH = (
    "each optimizer step has a batch of answers of its own; set global_batch_size, and num_iterations for several "
)
BY_BATCH += "steps on one batch"
BY_PASS = (
    "it is measured within one forward pass, so that what is learned would depend on the number of ranks; delete it"
)

SET_BY_THE_WORKFLOW = {
    "output_dir": "the rule gives the paths; delete it",
    "deepspeed": BY_DEEPSPEED,
    "gradient_accumulation_steps": "it follows from global_batch_size, per_device_train_batch_size and the hardware; "
    "set global_batch_size",
    "auto_find_batch_size": "per_device_train_batch_size is part of the result's identity; set that",
    "fsdp": BY_DEEPSPEED,
    "fsdp_config": BY_DEEPSPEED,
    "parallelism_config": BY_DEEPSPEED,
    "accelerator_config": BY_HARDWARE,
    "use_cpu": BY_HARDWARE,
    "local_rank": BY_HARDWARE,
    "ddp_backend": BY_HARDWARE,
    "ddp_bucket_cap_mb": BY_DEEPSPEED,
    "ddp_broadcast_buffers": BY_DEEPSPEED,
    "ddp_find_unused_parameters": BY_DEEPSPEED,
    "ddp_static_graph": BY_DEEPSPEED,
    "do_train": "a run trains when it has `trainer:`; delete it",
    "do_eval": AFTER_TRAINING,
    "do_predict": AFTER_TRAINING,
    "eval_on_start": "the held-out loss is always measured before and after training; delete it",
    "prediction_loss_only": AFTER_TRAINING,
    "batch_eval_metrics": AFTER_TRAINING,
    "bf16_full_eval": BY_MEASURING,
    "fp16_full_eval": BY_MEASURING,
    "eval_do_concat_batches": AFTER_TRAINING,
    "eval_use_gather_object": AFTER_TRAINING,
    "include_for_metrics": AFTER_TRAINING,
    "resume_from_checkpoint": BY_RESUMING,
    "ignore_data_skip": BY_RESUMING,
    "restore_callback_states_from_checkpoint": BY_RESUMING,
    "save_only_model": BY_RESUMING,
    "save_strategy": BY_RESUMING,
    "save_on_each_node": BY_RESUMING,
    "enable_jit_checkpoint": BY_RESUMING,
    "push_to_hub": BY_LEDGER,
    "hub_always_push": BY_LEDGER,
    "hub_model_id": BY_LEDGER,
    "hub_private_repo": BY_LEDGER,
    "hub_revision": BY_LEDGER,
    "hub_strategy": BY_LEDGER,
    "hub_token": "secrets do not belong into files; give it in the environment as HF_TOKEN",
    "trackio_bucket_id": "only wandb, tensorboard, mlflow and a local trackio are set up; delete it",
    "trackio_space_id": "only wandb, tensorboard, mlflow and a local trackio are set up; delete it",
    "trackio_static_space_id": "only wandb, tensorboard, mlflow and a local trackio are set up; delete it",
    "disable_tqdm": "progress is printed as plain lines, as often as tracking.logging_steps says; delete it",
    "include_num_input_tokens_seen": BY_LOG,
    "logging_nan_inf_filter": BY_LOG,
    "log_on_each_node": BY_LOG,
    "logging_strategy": BY_LOG,
    "skip_memory_metrics": "artifacts hold no measurements of the machine; delete it",
    "dataloader_in_order": "the order of the rows is part of the result; delete it",
    "dataloader_multiprocessing_context": BY_HARDWARE,
    "torch_empty_cache_steps": BY_HARDWARE,
    "full_determinism": "use training.deterministic, which also verifies it, and fills no memory in vain",
    "debug": "it is not part of a result; run the script by hand to debug",
    "remove_unused_columns": f"{BY_DATASET}; delete it",
    "label_names": f"{BY_DATASET}; delete it",
    "length_column_name": f"{BY_DATASET}; delete it",
    "max_length": f"{BY_DATASET}: set processing.max_length in the dataset's file",
    "truncation_mode": f"{BY_DATASET}: set processing.truncation in the dataset's file",
    "dataset_text_field": f"{BY_DATASET}: set processing.dataset_text_field in the dataset's file",
    "dataset_kwargs": f"{BY_DATASET}; delete it",
    "dataset_num_proc": f"{BY_DATASET}; delete it",
    "shuffle_dataset": f"{BY_DATASET}; rows are shuffled by seed, see train_sampling_strategy",
    "eval_packing": "held-out rows are measured one by one; delete it",
    "completion_only_loss": f"{BY_DATASET}: set processing.train_on in the dataset's file",
    "assistant_only_loss": f"{BY_DATASET}: set processing.train_on in the dataset's file",
    "chat_template_path": f"{BY_DATASET}: set processing.chat_template in the dataset's file",
    "eos_token": BY_TOKENIZER,
    "pad_token": BY_TOKENIZER,
    "model_init_kwargs": BY_LOADER,
    "generation_max_length": f"{BY_GENERATION}: set generation.max_new_tokens",
    "generation_num_beams": f"{BY_GENERATION}: set generation.num_beams",
    "generation_config": f"{BY_GENERATION}: write its keys there",
    "precompute_ref_log_probs": "training.reference says where they come from: scores, a stage of their own, or inline",
    "num_generations_eval": "held-out prompts are answered once each; delete it",
    "generation_batch_size": BY_BATCH,
    "steps_per_generation": BY_BATCH,
    **dict.fromkeys(
        (
            "cache_implementation",
            "ds3_gather_for_generation",
            "generation_kwargs",
            "repetition_penalty",
            "use_vllm",
            "transformers_continuous_batching_config",
            "use_transformers_continuous_batching",
            "use_transformers_paged",
            "vllm_enable_sleep_mode",
            "vllm_gpu_memory_utilization",
            "vllm_group_port",
            "vllm_importance_sampling_cap",
            "vllm_importance_sampling_clip_max",
            "vllm_importance_sampling_clip_min",
            "vllm_importance_sampling_correction",
            "vllm_importance_sampling_mode",
            "vllm_max_model_length",
            "vllm_mode",
            "vllm_model_impl",
            "vllm_server_base_url",
            "vllm_server_host",
            "vllm_server_port",
            "vllm_server_timeout",
            "vllm_structured_outputs_regex",
            "vllm_tensor_parallel_size",
        ),
        BY_TRANSFORMERS,
    ),
    "reward_clip_range": "a function of your own in training.rewards may bound what it returns; delete it",
    "reward_weights": "weights stand in training.rewards; delete it",
    "chat_template_kwargs": f"{BY_DATASET}; delete it",
    "cast_lm_head_to_fp32": "use default_dtype: float32, and bf16: true to compute in 16 bits",
    "max_tool_calling_iterations": "answers call no tools here; delete it",
    **dict.fromkeys(
        (
            "top_entropy_quantile",
            "entropy_coef",
            "use_adaptive_entropy",
            "entropy_coef_min",
            "entropy_coef_max",
            "entropy_coef_delta",
            "entropy_target",
        ),
        BY_PASS,
    ),
    "log_completions": "tracking.num_completions_to_print says how many answers are shown; delete it",
    "off_policy_mask_threshold": "answers are drawn by the very weights that learn from them; delete it",
    **dict.fromkeys(
        (
            "log_multimodal",
            "log_unique_prompts",
            "log_completions_hub_repo",
        ),
        BY_LOG,
    ),
    "sortish_sampler": "use train_sampling_strategy: group_by_length",
}

# Names of earlier transformers and TRL versions, and what is used now.
RENAMED = {
    "warmup_ratio": "use warmup_steps, where a number below 1 is a share of all steps",
    "evaluation_strategy": "use eval_strategy",
    "per_gpu_train_batch_size": "use per_device_train_batch_size",
    "per_gpu_eval_batch_size": "use per_device_eval_batch_size",
    "group_by_length": "use train_sampling_strategy: group_by_length",
    "adafactor": "use optim: adafactor",
    "fp16_backend": "use fp16 or bf16",
    "fp16_opt_level": "use fp16 or bf16",
    "half_precision_backend": "use fp16 or bf16",
    "torchdynamo": "use torch_compile_backend",
    "no_cuda": BY_HARDWARE,
    "use_mps_device": BY_HARDWARE,
    "use_ipex": BY_HARDWARE,
    "jit_mode_eval": BY_HARDWARE,
    "tpu_num_cores": BY_HARDWARE,
    "tpu_metrics_debug": BY_HARDWARE,
    "mp_parameters": BY_HARDWARE,
    "overwrite_output_dir": "an artifact is always made afresh; delete it",
    "logging_dir": "the rule gives the paths; delete it",
    "save_safetensors": "weights are always saved as safetensors; delete it",
    "past_index": "it is gone without replacement; delete it",
    "ray_scope": "it is gone without replacement; delete it",
    "use_legacy_prediction_loop": "it is gone without replacement; delete it",
    "include_inputs_for_metrics": AFTER_TRAINING,
    "include_tokens_per_second": "the launcher records the speed beside the ledger; delete it",
    "fsdp_min_num_params": BY_DEEPSPEED,
    "fsdp_transformer_layer_cls_to_wrap": BY_DEEPSPEED,
    "push_to_hub_model_id": BY_LEDGER,
    "push_to_hub_organization": BY_LEDGER,
    "push_to_hub_token": BY_LEDGER,
    "max_seq_length": "use seq_length for packing; rows are cut by processing.max_length in the dataset's file",
    "dtype": "use default_dtype",
    "torch_dtype": "use default_dtype",
    "max_prompt_length": f"{BY_DATASET}: set processing.max_prompt_length in the dataset's file",
    "neftune_alpha": "use neftune_noise_alpha",
    "rpo_alpha": "use loss_type: [sigmoid, sft] with loss_weights",
    "reference_free": "it is gone without replacement; delete it",
    "ref_adapter_name": "the reference is the base as it comes into the run; delete it",
    "model_adapter_name": "the reference is the base as it comes into the run; delete it",
    "label_pad_token_id": f"{BY_DATASET}; delete it",
    "max_completion_length": f"{BY_DATASET}: set processing.max_length in the dataset's file",
    "generate_during_eval": AFTER_TRAINING,
    "padding_value": BY_TOKENIZER,
    "is_encoder_decoder": BY_LOADER,
}

ALONE = "it speeds up batches of one only, and needs a helper here; delete it"
GENERATION = {
    "is_assistant": ALONE,
    "assistant_confidence_threshold": ALONE,
    "assistant_early_exit": ALONE,
    "assistant_ensemble_weight": ALONE,
    "assistant_lookbehind": ALONE,
    "target_lookbehind": ALONE,
    "num_assistant_tokens": ALONE,
    "num_assistant_tokens_schedule": ALONE,
    "prompt_lookup_num_tokens": ALONE,
    "max_matching_ngram_size": ALONE,
    "speculation_type": ALONE,
    "use_mtp": ALONE,
    "token_healing": "it rewrites the end of prompts; delete it",
    "compile_config": "answers are not compiled; delete it",
    "cache_config": "quantized caches are not set up; delete it",
    "pad_token_id": BY_TOKENIZER,
    "bos_token_id": BY_TOKENIZER,
    "eos_token_id": "use eos_tokens",
    "num_beam_groups": "transformers has no group beam search any more; use num_beams, or do_sample with "
    "num_return_sequences for answers that differ",
    "diversity_penalty": "transformers has no group beam search any more; delete it",
    "penalty_alpha": "transformers has no contrastive search any more; use repetition_penalty or "
    "no_repeat_ngram_size against repetition",
    "constraints": "transformers has no constrained beam search any more; delete it",
    "force_words_ids": "transformers has no constrained beam search any more; delete it",
    "output_attentions": "the stage keeps the answers only; delete it",
    "output_hidden_states": "the stage keeps the answers only; delete it",
    "output_logits": "the stage keeps the answers only; delete it",
    "output_scores": "the stage keeps the answers only; delete it",
    "return_dict_in_generate": "the stage keeps the answers only; delete it",
    "max_time": "the answers would depend on the machine's speed; delete it",
    "transformers_version": "the environment pins it; delete it",
}

# Keys of model configurations in earlier transformers versions.
RENAMED_IN_CONFIGURATIONS = {
    "rope_theta": "use rope_parameters: {rope_type: default, rope_theta: …}",
    "rope_scaling": "use rope_parameters: {rope_type: …, …}",
    "torch_dtype": "use dtype",
}


def refusal(section: str, key: str, known: Container[str] = ()) -> str | None:
    """Return why `key` cannot stand in `training` or `generation`, with the remedy; None when nothing is against it.

    `known`: the keys of the trainer's class; what a former version of another class called so may be one of them.
    """
    if section == "generation":
        reason = GENERATION.get(key)
        return reason and f"cannot be set here: {reason}"
    if key in TRACKING:
        return f"does not change the result, so it belongs to `tracking:`; move it there as tracking.{key}"
    if key in RESOURCES:
        return f"does not change the result, so it belongs to `resources:`; move it there as resources.{key}"
    if key in RENAMED and key not in known:
        return f"is no key of the pinned version any more: {RENAMED[key]}"
    if key in SET_BY_THE_WORKFLOW:
        return f"is set by the workflow: {SET_BY_THE_WORKFLOW[key]}"
    return None
