"""How much main memory merging an adapter takes: file by file, as a training does, and by peft at once.

    python benchmarks/merge_memory.py [--layers 8] [--file-mb 40] [--executions 3] [--output FILE]

A Llama in bfloat16 (25.7 MB a layer) with LoRA on all linear layers is merged and written in files of --file-mb, each
way in a process of its own. `peak_mb` is what the process took beyond what it had before (VmHWM of proc(5), reset by
clear_refs; pages of files that are mapped count), `wall_s` what merging and writing took. Both ways write the same
bytes, or nothing is measured.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import command_line, machine, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from heirloom.content_hashes import content_hash
from heirloom.models.adapters import shard_merging
from heirloom.models.adapters.shard_merging import ShardMerge, without_weights
from heirloom.models.weights import bytes_of_weights

SHAPE = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16, "vocab_size": 2000}


TINY = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 50}


def make_inputs(folder: Path, layers: int, file_mb: int, shape: dict[str, int] = SHAPE) -> None:
    """Write a base in several files, and an adapter that does something."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **shape)).bfloat16()
    model.save_pretrained(folder / "base", max_shard_size=f"{file_mb}MB")
    settings = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(folder / "adapter")


def by_file(folder: Path, output: Path, file_mb: int) -> None:
    """Merge as a training does."""
    shard_merging.SHARD = f"{file_mb}MB"
    with torch.device("meta"):
        empty = LlamaForCausalLM._from_config(LlamaConfig.from_pretrained(folder / "base"))
    empty._weight_conversions = []  # as after loading, which decides the order of what is written
    hollow = without_weights(empty, folder / "adapter")
    output.mkdir()
    ShardMerge(folder / "base", PeftModel.from_pretrained(hollow, folder / "adapter", torch_device="cpu")).write(output)


def at_once(folder: Path, output: Path, file_mb: int) -> None:
    """Merge as peft's documentation does."""
    base = LlamaForCausalLM.from_pretrained(folder / "base")
    merged = PeftModel.from_pretrained(base, folder / "adapter", torch_device="cpu").merge_and_unload()
    merged.save_pretrained(output, max_shard_size=f"{file_mb}MB")


WAYS = {"file by file": by_file, "peft, at once": at_once}


def memory_mb(name: str) -> float:
    """Return a figure of this process from proc(5), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def measured(way: str, folder: Path, output: Path, file_mb: int) -> tuple[float, float]:
    """Return peak memory in MB and wall seconds of one execution; to be called in a process of its own."""
    torch.set_num_threads(1)
    WAYS[way](
        folder / "tiny", output.with_name(f"{output.name} of the tiny one"), file_mb
    )  # imports what a training has
    Path("/proc/self/clear_refs").write_text("5")
    before, started = memory_mb("VmRSS"), time.perf_counter()
    WAYS[way](folder, output, file_mb)
    return memory_mb("VmHWM") - before, time.perf_counter() - started


def main() -> None:
    args = parse_arguments()
    result: dict[str, Any] = {"machine": machine("torch", "transformers", "peft", "safetensors"), "merge": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(make_inputs, (folder, args.layers, args.file_mb))
            pool.apply(make_inputs, (folder / "tiny", 1, args.file_mb, TINY))
        result |= {"base_mb": round(bytes_of_weights(folder / "base") / 1e6), "file_mb": args.file_mb}
        hashes = set()
        for way in WAYS:
            costs = []
            for execution in range(args.executions):
                output = folder / f"{way} {execution}"
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    costs.append(pool.apply(measured, (way, folder, output, args.file_mb)))
                hashes.add(content_hash(output.glob("*.safetensors")))
            peak, wall = (statistics.median(values) for values in zip(*costs, strict=True))
            result["merge"][way] = {"peak_mb": round(peak), "wall_s": round(wall, 2), "executions": args.executions}
            print(way, result["merge"][way], flush=True)
        if len(hashes) != 1:
            sys.exit("error: the two ways wrote different weights")
    write_result(args.output, result)


def parse_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "merge_memory")
    parser.add_argument("--layers", type=int, default=8, help="of the model, 25.7 MB each")
    parser.add_argument("--file-mb", type=int, default=40, help="most of a file of weights")
    parser.add_argument("--executions", type=int, default=3, help="of each way; the medians are recorded")
    return parser.parse_args()


if __name__ == "__main__":
    main()
