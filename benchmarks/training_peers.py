"""Training steps a CPU second beside plain transformers, TRL and PyTorch, on the same rows and ranks.

    python benchmarks/training_peers.py [--methods trainer sft dpo orpo kto reward grpo characters]
                                        [--model FOLDER] [--steps 40] [--executions 3] [--output FILE]

Every method trains the Llama of training_speed.py, of about half a million parameters, on two ranks: by our script, and
by a plain script of its library, as its documentation shows it; with --model that folder's model instead, on one rank.
`characters` is nanoGPT's task at its CPU settings: our train.py beside a bare PyTorch loop of the same model. Both
sides run without DeepSpeed and in float32, both at once: they wait for each other when their steps are warm, so that
what else the machine does meets both alike (one after the other, one and the same program was seen to differ by a
fifth). Counted are rank 0's CPU seconds after the steps that warm up, so neither start-up nor saving; start-up, to the
end of the first step, is told apart. Reported: medians of both sides, and the median of ours : theirs by execution; for
grpo also tokens that were drawn a CPU second, and the CPU seconds of a step that drawing them and training took.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from measuring import command_line, machine, write_result
from training_speed import MODEL, VOCABULARY

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks/gpu_programs")]
WARM_UP = 5
"""Steps that do not count."""
SMALL = {key: value for key, value in MODEL.items() if key != "model_type"} | {"vocab_size": VOCABULARY}
CHARACTERS = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
CHARACTERS |= {"num_key_value_heads": 4, "max_position_embeddings": 64, "vocab_size": 65, "tie_word_embeddings": True}
"""nanoGPT's config/train_shakespeare_char.py as its README gives it for a CPU: 4 layers, 4 heads, width 128, blocks of
64, batches of 12."""
METHODS = ("trainer", "sft", "dpo", "orpo", "kto", "reward", "grpo", "characters")
KINDS = {"trainer": "text", "sft": "chat", "dpo": "preference", "orpo": "preference", "kto": "labelled"}
KINDS |= {"reward": "preference", "grpo": "chat", "characters": "text"}
SCRIPTS = {method: f"{method}_train" for method in METHODS} | dict.fromkeys(("trainer", "characters"), "train")
LONGEST = 128
ANSWERS = 4
"""To each prompt of grpo."""
LONGEST_ANSWER = 32
REWARDED = "[1-7]$"
"""What the last word of a rewarded answer ends with, so that most answers of a group are worth more than others."""
SIDES = ("ours", "theirs")


def main() -> None:
    parser = command_line(__doc__, "training_peers")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--model", type=Path, help="folder of a model to train instead, with its tokenizer")
    parser.add_argument("--steps", type=int, default=40, help=f"of each training, more than {WARM_UP}")
    parser.add_argument("--executions", type=int, default=3)
    parser.add_argument("--rank", nargs=2, metavar=("METHOD", "SIDE"), help=argparse.SUPPRESS)
    args, of_the_script = parser.parse_known_args()
    if args.rank:
        train_and_measure(*args.rank, of_the_script)
        return
    if of_the_script:
        parser.error(f"unknown arguments: {' '.join(of_the_script)}")
    if args.steps <= WARM_UP:
        parser.error(f"--steps {args.steps}: the first {WARM_UP} steps do not count: give more")
    facts = machine("torch", "transformers", "trl", "accelerate")
    result = {"machine": facts, "steps": args.steps, "executions": args.executions, "steps_per_cpu_s": {}}
    if args.model:
        result["model"] = args.model.name
        args.methods = [method for method in args.methods if method != "characters"]
    for method in args.methods:
        with tempfile.TemporaryDirectory() as folder:
            model = args.model.absolute() if args.model else None
            speeds = compare(method, model, Path(folder), args.steps, args.executions)
        result["steps_per_cpu_s"][method] = speeds
        write_result(args.output, result)  # what is measured is kept, whatever becomes of the others
        print(f"{method:24}", "  ".join(f"{key} {value}" for key, value in speeds.items()), flush=True)


def compare(method: str, model: Path | None, folder: Path, steps: int, executions: int) -> dict[str, float | list]:
    """Return the medians of both sides' steps a CPU second and start-up, and how our steps stand to theirs."""
    batch = 12 if method == "characters" else 2 if model else 8
    ranks = 1 if model or method == "characters" else 2
    make_inputs(method, model, folder, rows=steps * batch * ranks, batch=batch, ranks=ranks, steps=steps)
    found = [execute(method, folder, ranks) for _ in range(executions)]
    ratios = [each["ours"]["steps_per_cpu_s"] / each["theirs"]["steps_per_cpu_s"] for each in found]

    def median(side: str, figure: str) -> float:
        return round(statistics.median(each[side][figure] for each in found), 4)

    return {
        **{side: median(side, "steps_per_cpu_s") for side in SIDES},
        **{
            figure: {side: median(side, figure) for side in SIDES}
            for figure in ("tokens_per_cpu_s", "drawing_cpu_s_per_step", "training_cpu_s_per_step")
            if figure in found[0]["ours"]
        },
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
        "start_cpu_s": {side: median(side, "start_cpu_s") for side in SIDES},
    }


def execute(method: str, folder: Path, ranks: int) -> dict[str, dict[str, float]]:
    """Train once on both sides at the same time; return what each side's rank 0 measured."""
    for name in (*(f"{side}.json" for side in SIDES), *(f"{side}.warm" for side in SIDES)):
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as said:
        running = {side: start(method, side, folder, ranks, said) for side in SIDES}
        while any(process.poll() is None for process in running.values()):
            if any(process.poll() for process in running.values()):
                for process in running.values():
                    process.terminate()
            time.sleep(0.2)
        if any(process.returncode for process in running.values()):
            said.seek(0)
            raise RuntimeError(f"{method} failed:\n{said.read()[-8000:]}")
    return {side: json.loads((folder / f"{side}.json").read_text()) for side in SIDES}


def start(method: str, side: str, folder: Path, ranks: int, said: IO[str]) -> subprocess.Popen:
    """Start the ranks of one side, which print to `said`."""
    arguments = []
    if side == "ours":
        arguments = ["--config", "run.yaml", "--dataset", "data"]
        arguments += ["--base", "base", "--output", "out/checkpoint"]
    program = [str(Path(__file__).resolve()), "--rank", method, side, *arguments]
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]  # two groups at once: ports of their own
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *rendezvous, "--nproc-per-node", str(ranks), *program],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "disabled"},
        stdout=said,
        stderr=subprocess.STDOUT,
        text=True,
    )


def make_inputs(method: str, model: Path | None, folder: Path, rows: int, batch: int, ranks: int, steps: int) -> None:
    """Write base, processed rows, the same rows as texts, and what both sides are told of the training."""
    import inputs
    import numpy as np
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    rng = np.random.default_rng(0)
    shape = CHARACTERS if method == "characters" else SMALL
    inputs.make_models(folder, shape)
    if model:
        tokenizer = AutoTokenizer.from_pretrained(model)
        AutoModelForCausalLM.from_pretrained(model, dtype="float32").save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
    else:
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder / "base")).save_pretrained(folder / "base")
    length = shape["max_position_embeddings"] if method == "characters" else LONGEST
    vocabulary = shape["vocab_size"]

    def ids(count: int) -> list[int]:
        return rng.integers(2, vocabulary, count).tolist()

    kind = KINDS[method]
    own = {}
    if method == "grpo":
        own = {"num_generations": ANSWERS, "max_completion_length": LONGEST_ANSWER}
    if kind == "text":
        table = [{"input_ids": ids(length)} for _ in range(rows)]
    elif kind == "chat":
        parts = [(ids(length // 4), ids(length - length // 4)) for _ in range(rows)]
        table = [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer} for prompt, answer in parts]
    elif kind == "labelled":
        names = ("prompt_ids", "completion_ids", "label")
        table = [
            dict(zip(names, (ids(length // 2), ids(length // 2), bool(number % 2)), strict=True))
            for number in range(rows)
        ]
    else:
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        table = [dict(zip(names, map(ids, (length // 2, length // 2, length // 2)), strict=True)) for _ in range(rows)]
    inputs.write_dataset(folder / "data", kind, table, length)
    training = {"per_device_train_batch_size": batch, "max_steps": steps, "learning_rate": 1e-4, "seed": 0}
    training |= {"bf16": False, "gradient_checkpointing": False, **own}
    ours = {"global_batch_size": batch * ranks}
    if method == "grpo":
        ours["rewards"] = [{"function": "format", "pattern": REWARDED}]
    run = {"training": training | ours, "tracking": {"save_steps": steps}}
    (folder / "run.yaml").write_text(json.dumps(run))
    (folder / "arguments.json").write_text(json.dumps(training))


# ---- in a rank ----


class Meter:
    """CPU seconds of this process: to the end of the first step, and from that of the warm-up to that of the last."""

    def __init__(self, side: str, steps: int) -> None:
        self.side, self.steps, self.begun = side, steps, 0.0
        self.tokens, self.drawing = 0, 0.0
        self.figures: dict[str, float] = {}

    def drawn(self, begun: float, tokens: int) -> None:
        """Count so many tokens, whose drawing began at that CPU second."""
        self.tokens += tokens
        self.drawing += time.process_time() - begun

    def step_has_ended(self, number: int) -> None:
        if number == 1:
            self.figures["start_cpu_s"] = time.process_time()
        if number == WARM_UP:
            Path(f"{self.side}.warm").touch()
            while not all(Path(f"{side}.warm").exists() for side in SIDES):
                time.sleep(0.01)
            self.begun, self.tokens, self.drawing = time.process_time(), 0, 0.0
        elif number == self.steps:
            steps, seconds = self.steps - WARM_UP, time.process_time() - self.begun
            self.figures["steps_per_cpu_s"] = steps / seconds
            if self.tokens:
                self.figures["tokens_per_cpu_s"] = self.tokens / seconds
                self.figures["drawing_cpu_s_per_step"] = self.drawing / steps
                self.figures["training_cpu_s_per_step"] = (seconds - self.drawing) / steps


def train_and_measure(method: str, side: str, of_the_script: list[str]) -> None:
    """Train in this rank; rank 0 writes what it measured."""
    arguments = json.loads(Path("arguments.json").read_text())
    meter = Meter(side, arguments["max_steps"])
    if side == "ours":
        by_our_script(SCRIPTS[method], of_the_script, meter)
    elif method == "characters":
        by_a_bare_loop(arguments, meter)
    else:
        by_its_library(method, arguments, meter)
    assert "steps_per_cpu_s" in meter.figures, "the last step was not seen"
    if os.environ["RANK"] == "0":
        Path(f"{side}.json").write_text(json.dumps(meter.figures))


def by_our_script(script: str, arguments: list[str], meter: Meter) -> None:
    """Run one of scripts/ as a stage does, but in this process."""
    import runpy

    import heirloom.rank  # noqa: F401  as each script begins
    from heirloom.training import lifecycle

    class Watched(lifecycle.Progress):
        def on_step_end(self, args, state, control, **kwargs):
            meter.step_has_ended(state.global_step)
            return super().on_step_end(args, state, control, **kwargs)

    lifecycle.Progress = Watched
    if script == "grpo_train":
        from heirloom.training import rewarded_training

        class Drawing(rewarded_training.SampledAnswers):
            def __call__(self, batch):
                begun = time.process_time()
                found = super().__call__(batch)
                meter.drawn(begun, sum(len(each.ids) for each in found))
                return found

        rewarded_training.SampledAnswers = Drawing
    sys.argv = [f"{script}.py", *arguments]
    runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="measured")["main"]()


def by_its_library(method: str, arguments: dict, meter: Meter) -> None:
    """Train by a plain script of transformers or TRL, on the rows as texts where TRL wants texts."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset, load_from_disk
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, TrainerCallback

    class Watching(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            meter.step_has_ended(state.global_step)

    tokenizer = AutoTokenizer.from_pretrained("base")
    rows, others = load_from_disk("data/train"), {}
    if method == "trainer":
        from transformers import Trainer as Class
        from transformers import TrainingArguments as Arguments

        others = {"data_collator": DataCollatorForLanguageModeling(tokenizer, mlm=False)}
    elif method == "sft":
        from trl import SFTConfig as Arguments
        from trl import SFTTrainer as Class

        rows = rows.map(lambda row: {"completion_mask": [int(label >= 0) for label in row["labels"]]}).remove_columns(
            "labels"
        )
    elif method == "grpo":
        from trl import GRPOConfig as Arguments
        from trl import GRPOTrainer

        class Class(GRPOTrainer):
            def _generate_single_turn(self, *args, **kwargs):
                begun = time.process_time()
                found = super()._generate_single_turn(*args, **kwargs)
                meter.drawn(begun, sum(map(len, found[0])))
                return found

        others = {
            "reward_funcs": lambda completions, **_: [float(bool(re.search(REWARDED, each))) for each in completions]
        }
        prompts = (
            [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label < 0] for row in rows
        )
        rows = Dataset.from_dict({"prompt": tokenizer.batch_decode(list(prompts))})
    elif method == "kto":
        from trl import KTOConfig as Arguments
        from trl import KTOTrainer as Class

        rows = rows.map(
            lambda row: {key: tokenizer.decode(row[f"{key}_ids"]) for key in ("prompt", "completion")}
        ).select_columns(["prompt", "completion", "label"])
    else:
        rows = rows.map(lambda row: {key.removesuffix("_ids"): tokenizer.decode(ids) for key, ids in row.items()})
        rows = rows.select_columns(["prompt", "chosen", "rejected"])
        if method == "dpo":
            from trl import DPOConfig as Arguments
            from trl import DPOTrainer as Class
        elif method == "reward":
            from trl import RewardConfig as Arguments
            from trl import RewardTrainer as Class
        else:
            from trl.experimental.orpo import ORPOConfig as Arguments
            from trl.experimental.orpo import ORPOTrainer as Class
    trainer = Class(
        model="base" if method == "reward" else AutoModelForCausalLM.from_pretrained("base"),
        args=Arguments(
            output_dir="theirs", use_cpu=True, report_to="none", logging_steps=10, save_strategy="no",
            disable_tqdm=True, **arguments,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[Watching()],
        **others,
    )  # fmt: skip
    trainer.train()


def by_a_bare_loop(arguments: dict, meter: Meter) -> None:
    """Train the same model by nothing but PyTorch: batches from memory, forward, backward, clip, AdamW."""
    import torch
    from datasets import load_from_disk
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained("base").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments["learning_rate"])
    rows = torch.tensor(load_from_disk("data/train")["input_ids"][:])  # (rows, T)
    size = arguments["per_device_train_batch_size"]
    order = torch.randperm(len(rows))
    for number in range(1, arguments["max_steps"] + 1):
        batch = rows[order[(number - 1) * size : number * size]]  # (B, T)
        logits = model(batch).logits  # (B, T, V)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.step_has_ended(number)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
