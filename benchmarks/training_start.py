"""What a training stage costs besides its steps: CPU seconds of train, SFT and DPO of two steps each, by phase.

    python benchmarks/training_start.py [--only sft,dpo] [--output FILE]

Runs the real scripts under the launcher on two CPU ranks with a model of 20,000 parameters. CPU seconds, because they
say the same on a busy machine; on two idle cores a stage takes about (launcher and torchrun) + one rank of wall time.
"""

import json
import re
import resource
import sys
import tempfile
from pathlib import Path

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("benchmarks/gpu_programs", "tests", "tests/training", "scripts")]
SHAPE = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SHAPE |= {
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
ROWS, HELD_OUT, LONGEST = 160, 11, 64
"""Rows of each dataset and those of them that are held out; tokens of a row at most."""

MEASURED = """
import os, runpy, sys, time
sys.path.insert(0, {scripts!r})
marks = [("python", time.process_time())]
import {name}
marks.append(("imports", time.process_time()))
from heirloom.training.callbacks.loss_history import LossHistory
log = LossHistory.on_log
def on_log(self, args, state, control, **kwargs):
    if state.global_step in (0, 2) and len(marks) < 4:
        marks.append((("set-up", "steps")[state.global_step > 0], time.process_time()))
    return log(self, args, state, control, **kwargs)
LossHistory.on_log = on_log
{name}.main()
marks.append(("saving", time.process_time()))
if os.environ["RANK"] == "0":
    times = [end - begin for (_, begin), (_, end) in zip(marks, marks[1:])]
    print("PHASES", *(f"{{phase}}={{seconds:.2f}}" for (phase, _), seconds in zip(marks[1:], times)), flush=True)
"""


def main() -> None:
    from training_workplace import RUNS, TRAINING, Workplace

    parser = command_line(__doc__, "training_start")
    parser.add_argument("--only", default=",".join(RUNS), help="these trainings, a,b")
    options = parser.parse_args()
    result = {"machine": machine("torch", "transformers", "trl", "accelerate", "deepspeed"), "trainings": {}}
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder))
        make_inputs(place.folder)
        for name in options.only.split(","):
            script, dataset, _ = RUNS[name]
            program = place.folder / f"measured_{script}"
            program.write_text(MEASURED.format(scripts=str(ROOT / "scripts"), name=script.removesuffix(".py")))
            two_steps = {**TRAINING, "max_steps": 2}
            command = place.training(script, name, dataset=dataset, base="base", training=two_steps)
            command[1] = str(program)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            output = place.launch(*command).stdout
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            record = json.loads((place.folder / ".heirloom/records" / f"{program.stem}-checkpoint.json").read_text())
            phases = dict(phase.split("=") for phase in re.search(r"PHASES (.*)", output)[1].split())
            rank = {phase: float(seconds) for phase, seconds in phases.items()}
            result["trainings"][name] = {"cpu_s": round(total, 1), "wall_s": record["seconds"], "cpu_s_of_a_rank": rank}
            told = " ".join(f"{phase} {seconds}" for phase, seconds in rank.items())
            print(f"{name:9} CPU {total:5.1f} s in all; one rank: {told}; wall {record['seconds']} s", flush=True)
    write_result(options.output, result)


def make_inputs(folder: Path) -> None:
    """Write base/, a model of 20,000 parameters with its tokenizer, and a processed dataset of each kind."""
    import numpy as np
    from inputs import answered, make_models
    from training_workplace import write_dataset
    from transformers import LlamaConfig, LlamaForCausalLM

    make_models(folder, SHAPE)
    LlamaForCausalLM(LlamaConfig.from_pretrained(folder / "base")).save_pretrained(folder / "base")
    rng = np.random.default_rng(0)
    pairs = [answered(rng, SHAPE["vocab_size"], LONGEST, shrink=16, answers=2) for _ in range(ROWS)]
    rows = {
        "text": [{"input_ids": prompt + chosen} for prompt, chosen, _ in pairs],
        "chat": [
            {"input_ids": prompt + chosen, "labels": [-100] * len(prompt) + chosen} for prompt, chosen, _ in pairs
        ],
        "preference": [
            {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected} for prompt, chosen, rejected in pairs
        ],
    }
    for kind, made in rows.items():
        write_dataset(folder / kind, kind, made[:-HELD_OUT], made[-HELD_OUT:])


if __name__ == "__main__":
    main()
