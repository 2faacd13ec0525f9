"""What a checkpoint costs that is an adapter alone, and one that is the merged model: bytes, saving, the first load.

    python benchmarks/adapter_checkpoints.py [--layers 8] [--executions 3] [--output FILE]

A Llama in bfloat16 (25.7 MB a layer) with LoRA of rank 16 on all linear layers, saved both ways by a training's own
functions and loaded by those of every reader, each time in a process of its own. `bytes` are those of the checkpoint's
folder; `saving_s` is what writing it takes beyond what both ways do (the comparison with the trained model, the
tokenizer). Before a load the files leave the page cache. `load_s` is that of a stage, `load_by_hand_s` has the base's
hash in it, which a stage leaves to the ledger; neither has `import_peft_s`, which a reader of an adapter takes besides.
Both ways give the same weights, or nothing is measured.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import command_line, machine, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import torch
from merge_memory import make_inputs
from peft import LoraConfig, PeftModel
from transformers import LlamaForCausalLM, Trainer, TrainingArguments

from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.sft import SFT
from heirloom.models.trained_checkpoints import load_model
from heirloom.training.checkpoints.adapter_saving import adapter_weights, facts_of_base, merge, save_adapter, save_alone
from heirloom.training.checkpoints.provenance import lineage_of
from heirloom.training.checkpoints.saving import save_model, write_json
from heirloom.training.inputs.training_command import TrainingCommand


def command_of(base: Path) -> TrainingCommand:
    """Return the command of a training on `base`, as far as saving looks at it."""
    nothing: dict[str, Any] = dict.fromkeys(("deepspeed", "metrics", "loss", "quantization"))
    sections = {"tracking": TrackingSection(), "resources": ResourcesSection(), "peft": PeftSection()}
    training = TrainingSection.model_validate({"global_batch_size": 1, "max_steps": 1})
    folders = {"dataset": base, "base": base, "output": base.with_name("out")}
    return TrainingCommand(trainer=SFT, training=training, **folders, **sections, **nothing)


def saved(way: str, folder: Path, output: Path) -> float:
    """Write a checkpoint; return the wall seconds. To be called in a process of its own, as all below."""
    model = PeftModel.from_pretrained(
        LlamaForCausalLM.from_pretrained(folder / "base", dtype="auto"), folder / "adapter", is_trainable=True
    )
    assert isinstance(model.peft_config["default"], LoraConfig)
    trainer = Trainer(model, TrainingArguments(str(folder / "work"), use_cpu=True, report_to="none"))
    command = command_of(folder / "base")
    lineage = lineage_of(command.base)
    started = time.perf_counter()
    weights = adapter_weights(trainer)
    if way == "adapter alone":
        save_alone(trainer, weights, command, output)
        write_json(output / "heirloom.json", {"base": facts_of_base(trainer, command, lineage)})
    else:
        save_adapter(trainer, weights, str(command.base), output / "adapter")
        save_model(merge(trainer, command, output / "adapter"), None, output, command)
    os.sync()
    return time.perf_counter() - started


def loaded(checkpoint: Path, by_hand: bool) -> tuple[float, float]:
    """Load a checkpoint from the disk; return the wall seconds, and the sum of all weights, to compare."""
    os.environ.pop("HEIRLOOM_IDENTITY", None)
    if not by_hand:
        os.environ["HEIRLOOM_IDENTITY"] = "measured"
    for file in (path for path in checkpoint.parent.rglob("*.safetensors") if path.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    model = load_model(checkpoint, "auto")
    touched = sum(weight.double().sum().item() for weight in model.parameters())  # files are mapped: read them
    return time.perf_counter() - started, touched


def imported() -> float:
    """Return the wall seconds that a stage takes to import peft when it finds that its checkpoint is an adapter."""
    program = """
import time
import heirloom.rank
import heirloom.models.trained_checkpoints
started = time.perf_counter()
heirloom.rank.allow("peft")
import peft
print(time.perf_counter() - started)
"""
    words, scripts = [sys.executable, "-c", program], Path(__file__).resolve().parents[1] / "scripts"
    done = subprocess.run(words, cwd=scripts, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def alone(function: Callable, *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    args = parse_arguments()
    result: dict[str, Any] = {"machine": machine("torch", "transformers", "peft", "safetensors"), "checkpoint": {}}
    with tempfile.TemporaryDirectory() as name:
        folder, sums = Path(name), set()
        alone(make_inputs, folder, args.layers, 2000)
        (folder / "base" / "tokenizer_config.json").write_text("{}")  # a reader looks whether one is there
        result["import_peft_s"] = round(statistics.median(imported() for _ in range(args.executions)), 2)
        result["base_bytes"] = size_of(folder / "base")
        for way in ("adapter alone", "merged"):
            times: dict[str, list[float]] = {"saving_s": [], "load_s": [], "load_by_hand_s": []}
            for execution in range(args.executions):
                checkpoint = folder / f"{way} {execution}"
                times["saving_s"].append(alone(saved, way, folder, checkpoint))
                (checkpoint / "tokenizer_config.json").write_text("{}")
                for key, by_hand in (("load_s", False), ("load_by_hand_s", True)):
                    seconds, total = alone(loaded, checkpoint, by_hand)
                    times[key].append(seconds)
                    sums.add(total)
            found = {key: round(statistics.median(values), 2) for key, values in times.items()}
            result["checkpoint"][way] = {"bytes": size_of(checkpoint), **found, "executions": args.executions}
            print(way, result["checkpoint"][way], flush=True)
        if len(sums) != 1:
            sys.exit("error: the two ways gave different weights")
    write_result(args.output, result)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def parse_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "adapter_checkpoints")
    parser.add_argument("--layers", type=int, default=8, help="of the model, 25.7 MB each")
    parser.add_argument("--executions", type=int, default=3, help="of each way; the medians are recorded")
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
