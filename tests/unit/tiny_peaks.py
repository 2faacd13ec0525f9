"""Real tiny trainings, generations and evaluations in one process: a line of JSON for each with the peak of live bytes.

python tests/unit/tiny_peaks.py FOLDER

FOLDER is for models that are written and read again in 4 bits. One rank of DeepSpeed's engine, torch's own optimizer.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import deepspeed
import torch
from live_tensors import RANK, LiveBytes
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from heirloom.estimates.model_shape import PROJECTIONS
from heirloom.inference.completion_logprobs import completion_logprobs
from heirloom.models.quantization import without_repacking
from heirloom.models.token_losses import token_losses

MODELS = {
    "llama": {
        "vocab_size": 2000, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "qwen3": {
        "vocab_size": 3000, "hidden_size": 192, "intermediate_size": 576, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "tie_word_embeddings": True,
    },
}  # fmt: skip
ROWS = (4, 128)
ZERO = {
    "reduce_bucket_size": 1000, "allgather_bucket_size": 1000, "stage3_prefetch_bucket_size": 1000,
    "stage3_param_persistence_threshold": 10, "stage3_max_live_parameters": 1000, "stage3_max_reuse_distance": 0,
}  # fmt: skip
"""Small models would fit into DeepSpeed's own sizes as a whole."""
BATCHES = ((1, 512, 8), (8, 256, 8))
"""Sequences, tokens of a prompt, tokens of an answer."""
WIDTHS = {2: torch.bfloat16, 4: torch.float32}
"""Bytes of a weight → its type."""
SCORED = ((1, 512), (4, 512), (8, 128), (16, 256))
"""Sequences and their tokens."""


def main() -> None:
    torch.set_num_threads(1)
    for kind, quantized, checkpointing in product(MODELS, (False, True), (False, True)):
        case = {"kind": kind, "quantized": quantized, "checkpointing": checkpointing}
        tell(case, adapter_peak(Path(sys.argv[1]) / f"{kind}-{quantized}-{checkpointing}", **case))
    for kind, (width, dtype) in product(MODELS, WIDTHS.items()):
        model = fresh(kind, dtype).eval()
        for batch in BATCHES:
            tell({"kind": kind, "width": width, "generates": batch}, live_in(model, partial(answer, model, *batch)))
        for rows in SCORED:
            tell({"kind": kind, "width": width, "scores": rows}, live_in(model, partial(score, model, rows)))
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled, for a minute
    deepspeed.init_distributed("gloo")
    for stage in range(4):  # ZeRO-3 last: it puts its own linear layers in place of torch's for ever
        for adapter, checkpointing in product((False, True), (False, True)):
            kind = list(MODELS)[stage % 2]
            case = {"kind": kind, "stage": stage, "adapter": adapter, "checkpointing": checkpointing}
            tell(case, engine_peak(**case))
    torch.distributed.destroy_process_group()


def tell(case: dict, peak: int) -> None:
    print(json.dumps({**case, "peak": peak}), flush=True)


def fresh(kind: str, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    """Return a model with random weights of that type."""
    torch.set_default_dtype(dtype)
    try:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **MODELS[kind]), attn_implementation="sdpa")
    finally:
        torch.set_default_dtype(torch.float32)


def see_all(live: LiveBytes) -> None:
    """Count all tensors that Python knows of and that were made since `gc.freeze`."""
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and thing.device.type != "meta":
            live.see(thing)
    live.peak = live.now


def inputs() -> dict:
    ids = torch.zeros(ROWS, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "use_cache": False}


def engine_peak(kind: str, stage: int, adapter: bool, checkpointing: bool) -> int:
    """Return the peak of a second step under a stage of ZeRO, states included."""
    gc.collect()
    gc.freeze()
    model = fresh(kind)
    if adapter:
        lora = LoraConfig(r=RANK, target_modules=list(PROJECTIONS))
        model = get_peft_model(model, lora, autocast_adapter_dtype=False)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if adapter:
            model.enable_input_require_grads()
    model.train()
    config = {
        "train_batch_size": ROWS[0], "bf16": {"enabled": True}, "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": stage} | {key: ZERO[key] for key in ZERO if stage == 3 or "stage3" not in key},
    }  # fmt: skip
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], fused=True)
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]
    del model, optimizer

    def step() -> None:
        engine.backward(engine(**inputs()).loss)
        engine.step()

    return peak_of_the_second(step)


def adapter_peak(folder: Path, kind: str, quantized: bool, checkpointing: bool) -> int:
    """Return the peak of a second step without DeepSpeed, by autocast, of an adapter as `trainer: trainer` makes it."""
    fresh(kind).save_pretrained(folder)
    gc.collect()
    gc.freeze()
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    chosen = {"quantization_config": four} if quantized else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **chosen)
    if quantized:
        without_repacking(model)
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = get_peft_model(model, LoraConfig(r=RANK, target_modules=list(PROJECTIONS)), autocast_adapter_dtype=True)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs()).loss
        loss.backward()
        optimizer.step()

    return peak_of_the_second(step)


def peak_of_the_second(step: Callable[[], None]) -> int:
    """Return the peak of live bytes in a step after the first, which makes the optimizer's states."""
    step()
    gc.collect()
    live = LiveBytes()
    with live:
        see_all(live)
        step()
    return live.peak


def live_in(model: torch.nn.Module, work: Callable[[], None]) -> int:
    """Return the peak of live bytes in some work without gradients, the model's weights included."""
    gc.collect()
    live = LiveBytes()
    with live, torch.no_grad():
        for weight in model.parameters():
            live.see(weight)
        work()
    return live.peak


def answer(model: torch.nn.Module, sequences: int, prompt: int, tokens: int) -> None:
    ids = torch.full((sequences, prompt), 5)
    lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, **lengths)
    completion_logprobs(model, ids.tolist(), found[:, prompt:].tolist(), 0)


def score(model: torch.nn.Module, rows: tuple[int, int]) -> None:
    ids = torch.zeros(rows, dtype=torch.long)
    token_losses(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}, ids)


if __name__ == "__main__":
    main()
