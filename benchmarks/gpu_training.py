"""Train on a GPU: every method once with CUDA kernels, then a Llama-3-8B shape by our stages and by TRL's defaults.

    python benchmarks/gpu_training.py [--budget 480]
    python benchmarks/gpu_training.py --rehearse        # the same on tiny shapes, on a CPU too; measures nothing

Needs no network: models have random weights, rows are random tokens of realistic lengths (see `lengths`). Each case is
a process of its own with a time limit, so that one that fails stops no other; the result, benchmarks/results/
gpu_training.json, is written after each. Without a GPU it says so and claims nothing. To reach on one H200: LoRA at
12,500 tokens/s, DPO at 1.3 times TRL's defaults.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import machine, write_result

ROOT = Path(__file__).resolve().parent.parent
CASE = Path(__file__).with_name("gpu_training_case.py")
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "deepspeed", "accelerate", "datasets")
LORA = {"r": 16, "lora_alpha": 32}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16"}

# name: (script, kind of rows, ZeRO, sections)
SMOKE = {
    "sft packed, LoRA, zero3": (
        *("sft_train.py", "chat", "zero3"),
        {"training": {"packing": True, "seq_length": 256}, "peft": LORA},
    ),
    "sft nf4 QLoRA, zero2": ("sft_train.py", "chat", "zero2", {"peft": LORA, "quantization": NF4}),
    "dpo nf4 QLoRA, zero3": ("dpo_train.py", "preference", "zero3", {"peft": LORA, "quantization": NF4}),
    "orpo LoRA, zero2": ("orpo_train.py", "preference", "zero2", {"peft": LORA}),
    "trainer int8 LoRA, zero2": ("train.py", "text", "zero2", {"peft": LORA, "quantization": {"load_in_8bit": True}}),
    "seq2seq whole, zero3_offload": ("seq2seq_train.py", "chat", "zero3_offload", {}),
}
SHAPES = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "max_position_embeddings": 512,
    },
}
# name: (ours or upstream, method, training section)
MEASURED = {
    "LoRA, ours, flash_attention_2": ("ours", "sft", {"attn_implementation": "flash_attention_2"}),
    "LoRA, ours, sdpa": ("ours", "sft", {"attn_implementation": "sdpa"}),
    "LoRA, TRL's defaults": ("upstream", "sft", {}),
    "DPO, ours": ("ours", "dpo", {}),
    "DPO, TRL's defaults": ("upstream", "dpo", {}),
    "DPO, ours, reference computed ahead": ("ours", "dpo", {"precompute_ref_log_probs": True}),
    "LoRA, ours, flex_attention": ("ours", "sft", {"attn_implementation": "flex_attention"}),
    "LoRA, ours, sdpa, checkpointing": ("ours", "sft", {"attn_implementation": "sdpa", "gradient_checkpointing": True}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=480.0, help="seconds in all; what is left then is not run")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on whatever is here; no result is written")
    args = parser.parse_args()
    gpu = gpu_name()
    if gpu is None and not args.rehearse:
        print("There is no GPU here, so nothing was run and nothing is claimed.")
        return
    deadline = time.monotonic() + args.budget
    result = {"command": "python benchmarks/gpu_training.py", "gpu": gpu, **machine(*PACKAGES)}
    with tempfile.TemporaryDirectory() as folder:
        result["rows"] = make_inputs(Path(folder), tiny=args.rehearse)
        for part, names in (("smoke", SMOKE), ("measured", MEASURED)):
            result[part] = {}
            for name in names:
                run = smoke if part == "smoke" else measure
                result[part][name] = outcome = run(Path(folder), name, deadline, args.rehearse)
                print(f"{part}: {name}: {json.dumps(outcome)}", flush=True)
                if not args.rehearse:
                    write_result("gpu_training", result)
    if args.rehearse:
        failed = [name for part in ("smoke", "measured") for name, each in result[part].items() if "failed" in each]
        print(f"A rehearsal: nothing was measured, {len(failed)} cases failed.")
        sys.exit(bool(failed))


def gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def lengths(count: int, longest: int, rng: np.random.Generator) -> np.ndarray:
    """Return lengths of conversations, tokens: log-normal with median 260 and sigma 0.9, from 16 to `longest`.

    That is about the shape of public instruction data (short questions, a long tail); it was not fitted to one set.
    """
    return np.clip(rng.lognormal(np.log(min(260, longest / 4)), 0.9, count), 16, longest).astype(int)


def make_inputs(folder: Path, tiny: bool) -> dict[str, object]:
    """Write tokenizer, configurations, a tiny model and random rows of each kind; return facts about the lengths."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    shape = SHAPES["tiny" if tiny else "8b"]
    vocabulary = {f"t{number}": number for number in range(SHAPES["tiny"]["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="t0")), eos_token="t1", pad_token="t0"
    )
    for name, keys in (("smoke", SHAPES["tiny"]), ("measured", shape)):
        config = LlamaConfig(**keys, pad_token_id=0, eos_token_id=1, bos_token_id=None)
        config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(folder / "smoke")).save_pretrained(folder / "smoke")

    rng = np.random.default_rng(0)
    facts = {}
    for place, count, longest in (("smoke", 64, 128), ("measured", 64 if tiny else 6000, 128 if tiny else 4096)):
        sizes = lengths(count, longest, rng)
        texts = [rng.integers(2, 500, size) for size in sizes]
        chats = [{"input_ids": ids, "labels": [-100] * (len(ids) // 3) + [*ids[len(ids) // 3 :]]} for ids in texts]
        pairs = [pair_of(ids) for ids in texts if len(ids) <= longest // 2]
        for kind, rows in (("text", [{"input_ids": ids} for ids in texts]), ("chat", chats), ("preference", pairs)):
            Dataset.from_list(rows).save_to_disk(folder / place / kind / "train")
            description = {"kind": kind, "max_length": longest}
            (folder / place / kind / "dataset.json").write_text(json.dumps(description))
        facts = {"chats": count, "mean_tokens": round(float(sizes.mean()), 1)}
        facts |= {f"p{share}": int(np.percentile(sizes, share)) for share in (50, 90, 99)}
    return facts


def pair_of(ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return a preference pair: half of `ids` is the prompt, the rest the chosen answer, its end the rejected one."""
    half = len(ids) // 2
    return {"prompt_ids": ids[:half], "chosen_ids": ids[half:], "rejected_ids": ids[-half // 2 :]}


def smoke(folder: Path, name: str, deadline: float, rehearse: bool) -> dict[str, object]:
    """Train two steps by the real script under the real launcher, as a stage does."""
    script, kind, zero, sections = SMOKE[name]
    training = {"max_steps": 2, "global_batch_size": 4, "per_device_train_batch_size": 2, "bf16": True}
    sections = {**sections, "training": {**training, **sections.get("training", {})}}
    (folder / "smoke.yaml").write_text(json.dumps(sections))
    output = f"out/{name.replace(' ', '-').replace(',', '')}"
    command = [
        *(sys.executable, str(ROOT / "scripts/launch.py"), "torchrun", str(ROOT / "scripts" / script)),
        *("--config", "smoke.yaml", "--sections", ",".join(sections), "--dataset", f"smoke/{kind}", "--base", "smoke"),
        *("--deepspeed", str(ROOT / f"config/deepspeed/{zero}.json"), "--output", output),
    ]
    return outcome_of(command, folder, seconds_for(60, deadline, rehearse))


def measure(folder: Path, name: str, deadline: float, rehearse: bool) -> dict[str, object]:
    """Train some steps of one case in a process of its own; return what it measured."""
    whose, method, training = MEASURED[name]
    if rehearse:
        training = {**training, "attn_implementation": "sdpa"} if "attn_implementation" in training else training
    job = {"whose": whose, "method": method, "training": training, "steps": 3 if rehearse else 12, "tiny": rehearse}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "measured.json").unlink(missing_ok=True)
    command = [*(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1"), str(CASE), "job.json"]
    outcome = outcome_of(command, folder, seconds_for(120, deadline, rehearse))
    if "failed" in outcome or "not_run" in outcome:
        return outcome
    return json.loads((folder / "measured.json").read_text())


def seconds_for(limit: float, deadline: float, rehearse: bool) -> float:
    """Return how long a case may take: its limit, within the budget; a CPU is given more."""
    return min(limit * (4 if rehearse else 1), deadline - time.monotonic())


def outcome_of(command: list[str], folder: Path, seconds: float) -> dict[str, object]:
    """Run a command for at most so many seconds; return how it ended, with the last lines where it failed."""
    if seconds < 5:
        return {"not_run": "the time was up"}
    started = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"it was not done after {seconds:.0f} s"}
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "Error" in line or line.startswith("error")]
        return {"failed": (errors or done.stdout.splitlines())[:3]}
    return {"passed_after_s": round(time.monotonic() - started, 1)}


if __name__ == "__main__":
    main()
