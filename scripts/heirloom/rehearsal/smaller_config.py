"""The files of a run made small: two steps, few and short rows, two layers. All else stays as the user has written it.

What cannot be as it is on a laptop is changed and told, never silently: each function that drops something returns a
sentence for it.
"""

import copy
from pathlib import Path
from typing import Any

from heirloom.config.arguments.attention import NEEDS_GPU
from heirloom.config.dataset import Dataset
from heirloom.config.model import Model
from heirloom.config.run import Run

STEPS = 2
"""Optimizer steps: after the second, states of the optimizer have been read as well as written."""
ROWS = 16
"""Rows of each raw split."""
HELD_OUT = 4
"""Rows of a test split that is drawn, on top of ROWS."""
LONGEST_ROW = 1024
PACKED_ROW = 64
"""Tokens: few enough that ROWS texts fill several rows."""
NEW_TOKENS = 4
MERGES = 16
"""Entries that a trained tokenizer learns beside the bytes and its special tokens: any ROWS texts give them."""
BATCH = 2
"""Rows a rank and forward pass: the fewest that are padded to each other."""
RANKS = 2

COMPILED = ("torch_compile", "torch_compile_backend", "torch_compile_mode")
KERNELS = ("use_liger_kernel", "liger_kernel_config", "tf32")
LIBRARY_WITH_KERNELS = ("8bit", "4bit", "paged_", "bnb", "fp8")
"""Parts of the names of optimizers whose steps are kernels for GPUs."""


def smaller_run(run: Run) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a run's file as it is rehearsed, and what of it is not, a sentence each."""
    content = copy.deepcopy(run.raw)
    content["enabled"] = True
    content.pop("resources", None)
    left_out: list[str] = []
    tracking = content.pop("tracking", {})
    if tracking.get("report_to", "none") not in ("none", []):
        left_out.append(f"reporting to {tracking['report_to']}")
    if "s3_upload_dir" in tracking:
        left_out.append(f"the upload to {tracking['s3_upload_dir']}")
    if content.pop("gates", None):
        left_out.append("its gates: scores of random weights keep none")
    content["tracking"] = {"logging_steps": 1, "save_steps": 1}
    if "training" in content:
        left_out += shorten_training(content["training"])
    if "generation" in content:
        left_out += shorten_generation(content["generation"])
    if "datasets" in content.get("lm_eval", {}) and any(
        key in content for key in ("trainer", "generation", "evaluation")
    ):
        del content["lm_eval"]
        left_out.append("lm_eval: its datasets are fetched whole")
    if "lm_eval" in content:
        content["lm_eval"]["limit"] = min(BATCH, content["lm_eval"].get("limit", BATCH))
    for name in ("training", "generation", "evaluation", "lm_eval"):
        section = content.get(name, {})
        attention = section.get("attn_implementation", "sdpa")
        if attention.startswith(NEEDS_GPU) or "/" in attention:
            section["attn_implementation"] = "sdpa"
            left_out.append(f"{name}.attn_implementation: {attention} (sdpa stood in for it)")
            if section.pop("padding_free", None):
                left_out.append(f"{name}.padding_free, which needs that attention")
    return content, [f"{run.name}: {sentence}" for sentence in left_out]


def shorten_training(training: dict[str, Any]) -> list[str]:
    """Make a training two steps on CPU ranks; return what that leaves out."""
    training.pop("num_train_epochs", None)
    training["max_steps"] = STEPS
    accumulated = training["global_batch_size"] > RANKS * training.get("per_device_train_batch_size", 8)
    rows = training["per_device_train_batch_size"] = min(BATCH, training.get("per_device_train_batch_size", 8))
    training["global_batch_size"] = RANKS * rows * (2 if accumulated else 1)
    if "rewards" in training:
        training["num_generations"] = min(BATCH, training.get("num_generations", BATCH))
        if all(reward.get("function") != "length" for reward in training["rewards"]):  # a share of that length
            training["max_completion_length"] = min(NEW_TOKENS, training.get("max_completion_length", NEW_TOKENS))
    for key in ("per_device_eval_batch_size", "precompute_ref_batch_size"):
        if key in training:
            training[key] = min(BATCH, training[key])
    for key in ("eval_steps", "eval_delay", "ref_model_sync_steps"):
        if training.get(key, 0) >= 1:
            training[key] = 1
    if isinstance(training.get("warmup_steps"), int):
        training["warmup_steps"] = min(1, training["warmup_steps"])
    schedule = training.get("lr_scheduler_kwargs")
    if isinstance(schedule, dict):
        schedule |= {key: 1 for key, value in schedule.items() if key.endswith("_steps") and isinstance(value, int)}
    if "seq_length" in training and not training.get("packing"):
        training["seq_length"] = min(PACKED_ROW, training["seq_length"])
    return without_kernels(training)


def without_kernels(training: dict[str, Any]) -> list[str]:
    """Replace what computes on a GPU only; return what that leaves out."""
    left_out = []
    for key in (*KERNELS, *COMPILED):
        value = training.pop(key, None)
        if value not in (None, False):
            left_out.append(f"training.{key}: {value}")
    if training.get("fp16") is True:
        del training["fp16"]
        training["bf16"] = True
        left_out.append("training.fp16: true (bf16 stood in for it)")
    optimizer = str(training.get("optim", ""))
    if any(part in optimizer for part in LIBRARY_WITH_KERNELS):
        training["optim"] = "adamw_torch"
        training.pop("optim_args", None)
        left_out.append(f"training.optim: {optimizer} (adamw_torch stood in for it)")
    return left_out


def shorten_generation(generation: dict[str, Any]) -> list[str]:
    """Make answers short; return what of the engine is left out."""
    left_out = []
    fewest = generation.get("min_new_tokens") or 0
    generation["max_new_tokens"] = min(generation.get("max_new_tokens", NEW_TOKENS), max(NEW_TOKENS, fewest))
    generation["limit"] = min(ROWS, generation.get("limit", ROWS))
    if generation.pop("replace_with_kernel_inject", False):
        left_out.append("generation.replace_with_kernel_inject: true")
    if place := generation.pop("nvme_path", None):
        generation["cpu_offload"] = True
        left_out.append(f"generation.nvme_path: {place} (memory stood in for the drive)")
    if generation.get("engine") == "vllm":  # on CPUs it is another build, with heads of few sizes
        generation["engine"] = "accelerate"
        generation.pop("tensor_parallel_size", None)
        left_out.append("generation.engine: vllm (accelerate stood in for it)")
    return left_out


def smaller_deepspeed(content: dict[str, Any]) -> list[str]:
    """Let memory stand in for the drives that a DeepSpeed file offloads to; return what that leaves out."""
    left_out = []
    for name in ("offload_param", "offload_optimizer"):
        part = content.get("zero_optimization", {}).get(name, {})
        if part.get("device") == "nvme":
            part["device"] = "cpu"
            left_out.append(f"{name} to {part.pop('nvme_path', 'a drive')} (memory stood in for the drive)")
    return left_out


def smaller_dataset(dataset: Dataset, rows: Path) -> dict[str, Any]:
    """Return the content of a dataset's file whose raw rows are those in the folder `rows`."""
    content = copy.deepcopy(dataset.raw)
    if "processing" not in content:
        return content  # a mixture, or one that is processed already
    content["source"] = {"path": str(rows)}
    processing = content["processing"]
    if processing.get("packed"):
        processing["max_length"] = min(PACKED_ROW, processing["max_length"])
    elif processing.get("truncation", True) and processing["max_length"] > LONGEST_ROW:
        processing["max_length"] = LONGEST_ROW
        if processing.get("max_prompt_length", 0) >= LONGEST_ROW:
            processing["max_prompt_length"] = LONGEST_ROW // 2
    if processing.get("bad_rows"):
        processing["bad_rows"] = 1.0  # a share of so few rows says nothing of the share of all
    if draws_test_rows(dataset):
        processing.pop("test_fraction", None)
        processing["test_rows"] = min(HELD_OUT, processing.get("test_rows", HELD_OUT))
    return content


def draws_test_rows(dataset: Dataset) -> bool:
    """Say whether the test split is drawn from the rows that are trained on."""
    section = dataset.processing
    return section is not None and (section.test_rows is not None or section.test_fraction is not None)


def smaller_model(model: Model, stand_in: Path, sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a model's file: the `stand_in` in place of its source, or `init` with these `sizes`."""
    content = copy.deepcopy(model.raw)
    if model.source is not None:
        content["source"] = {"path": str(stand_in)}
    else:
        content["init"] |= sizes
        tokenizer = content["tokenizer"]
        roles = [tokenizer[key] for key in tokenizer if key.endswith("_token")]
        special = {*roles, *tokenizer.get("additional_special_tokens", [])}
        tokenizer["vocab_size"] = min(tokenizer["vocab_size"], 256 + len(special) + MERGES)
    return content
