"""Training on one GPU: does every method run, and how fast is a Llama-3-8B-shaped model against TRL's defaults?

    python benchmarks/gpu_training.py [--budget 480] [--only sft-nf4-zero3,dpo-ours] [--output FILE]
    python benchmarks/gpu_training.py --rehearse       the same with tiny shapes on the CPU: measures nothing

Needs no network and no data: weights, tokens and tokenizer are drawn from a seed. The smoke runs the real scripts
under the launcher for three steps each. A measurement runs in a process of its own (benchmarks/gpu_programs/); steps
after the third count, the speed is their median, tokens are those that are no padding. `ours` is what a run can be set
to, `upstream` is TRL's defaults but for the length, the rows a step and the adapter, which are the same in both. A case
that fails or takes too long is recorded and stops no other; benchmarks/results/gpu_training.json is written after every
case. Without a GPU nothing is run or written.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "benchmarks" / "gpu_programs"
LAUNCH = (sys.executable, str(ROOT / "scripts" / "launch.py"), "torchrun")
LLAMA_3_8B = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "tie_word_embeddings": False,
}
REHEARSED = {**LLAMA_3_8B, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
REHEARSED |= {"num_attention_heads": 2, "num_key_value_heads": 1}
LENGTH, PAIR_LENGTH = 4096, 2048  # tokens: of a packed row; at most of a prompt with one answer
STEPS, REHEARSED_STEPS = 11, 4  # of which the meter leaves out three
EXAMPLES, PACKED_ROWS, PAIRS = 32, 4, 16  # a step: TRL's examples, ours packed (32 × 499 tokens fill about 4), pairs
UPSTREAM_BATCH = 8  # rows a forward pass: TRL's own default
LORA = {"r": 16, "lora_alpha": 32}
TARGETS = {
    "lora_tokens_per_s": 12_500,  # the best published figure on one H100: 12,473, NVIDIA NeMo AutoModel
    "dpo_times_upstream": 1.3,
}
SMOKE_LIMIT, MEASUREMENT_LIMIT = 110, 120  # seconds a case


@dataclass(frozen=True)
class Case:
    """A program to run: its command, the package that it needs, and for how long it may run (seconds)."""

    name: str
    command: list[str]
    limit: float
    package: str | None = None
    result: str | None = None
    lighter: "Case | None" = field(default=None, repr=False)


def main() -> None:
    args = parsed_arguments()
    gpu = {} if args.rehearse else gpu_facts()
    if not gpu and not args.rehearse:
        print("There is no GPU here, so nothing was run and nothing is claimed.")
        return
    clock = Clock(args.budget)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), gpu)
        place.make_inputs()
        record = Record(args.output, gpu, json.loads((place.folder / "lengths.json").read_text()))
        chosen = [name for name in args.only.split(",") if name]
        smoke = [case for case in place.smoke_cases() if not chosen or case.name in chosen]
        with ThreadPoolExecutor(max(1, min(5, os.cpu_count() // 3))) as pool:  # tiny models share a GPU well
            for case, outcome in zip(smoke, pool.map(lambda case: place.run(case, clock), smoke), strict=True):
                record.add("smoke", case, outcome)
        for case in place.measurements():
            if not chosen or case.name in chosen:
                record.add("measurements", case, place.run(case, clock))
    record.tell()
    sys.exit(any(outcome["outcome"] == "failed" for outcome in record.outcomes()) if args.rehearse else 0)


def parsed_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "gpu_training")
    parser.add_argument("--budget", type=float, default=480, help="seconds in all; what is left then is not run")
    parser.add_argument("--only", default="", help="names of cases, a,b")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on the CPU; nothing is measured")
    return parser.parse_args()


def gpu_facts() -> dict:
    """Return GPU, memory and versions, {} without a GPU; asked in a process that then leaves the GPU's memory."""
    asked = subprocess.run([sys.executable, str(PROGRAMS / "machine_facts.py")], stdout=subprocess.PIPE, check=True)
    return json.loads(asked.stdout)


class Clock:
    """How many seconds are left of the budget."""

    def __init__(self, budget: float) -> None:
        self.end = time.monotonic() + budget

    def left(self) -> float:
        return self.end - time.monotonic()


class Place:
    """A temporary folder in which programs run on the first GPU, or without a GPU on the CPU, as a rehearsal."""

    def __init__(self, folder: Path, gpu: dict) -> None:
        self.folder, self.gpu = folder, gpu
        self.versions, self.steps = gpu.get("versions", {}), STEPS if gpu else REHEARSED_STEPS
        kept = {name: value for name, value in os.environ.items() if name not in ("DVC_STAGE", "HEIRLOOM_WORK_DIR")}
        self.environment = {
            **kept,
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_HOME": str(folder / "hf"),
            "PYTHONUNBUFFERED": "1",  # else what was printed comes after the error, and the last lines tell nothing
        }
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        self.environment["CUDA_VISIBLE_DEVICES"] = first if gpu else ""

    def make_inputs(self) -> None:
        plan = {
            "model": LLAMA_3_8B if self.gpu else REHEARSED,
            "examples": EXAMPLES * (self.steps + 3),
            "pairs": PAIRS * self.steps,
            "max_length": LENGTH if self.gpu else 64,
            "max_pair_length": PAIR_LENGTH if self.gpu else 64,
            "shrink": 1 if self.gpu else 32,
        }
        (self.folder / "plan.json").write_text(json.dumps(plan))
        making = [sys.executable, str(PROGRAMS / "inputs.py"), str(self.folder), str(self.folder / "plan.json")]
        subprocess.run(making, check=True, env=self.environment, stdout=subprocess.DEVNULL)

    def smoke_cases(self) -> list[Case]:
        """Return the smoke: each method, adapters and quantized bases under DeepSpeed, attention and fused kernels."""
        packed = {"packing": True, "attn_implementation": "sdpa"}
        nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": "bfloat16"}
        lora = {"peft": {"r": 4}}
        cases = [
            self.smoke("sft-nf4-zero2", "sft_train.py", "chat", "zero2", quantization=nf4, **lora),
            self.smoke("sft-nf4-zero3", "sft_train.py", "chat", "zero3", quantization=nf4, **lora),
            self.smoke("dpo-nf4-zero2", "dpo_train.py", "preference", "zero2", quantization=nf4, **lora),
            self.smoke("sft-int8-zero2", "sft_train.py", "chat", "zero2", quantization={"load_in_8bit": True}, **lora),
            self.smoke("trainer", "train.py", "text", "zero2"),
            self.smoke("seq2seq", "seq2seq_train.py", "chat", "zero2"),
            self.smoke("sft-packed", "sft_train.py", "chat", "zero2", **packed),
            self.smoke("dpo", "dpo_train.py", "preference", "zero2"),
            self.smoke("orpo", "orpo_train.py", "preference", "zero2"),
            self.smoke("sft-lora-zero3", "sft_train.py", "chat", "zero3", **lora),
        ]
        if self.gpu:
            flex = {**packed, "attn_implementation": "flex_attention"}
            flash = {**packed, "attn_implementation": "flash_attention_2"}
            cases += [
                self.smoke("sft-flex", "sft_train.py", "chat", "zero2", **flex),
                self.smoke("sft-flash", "sft_train.py", "chat", "zero2", package="flash-attn", **flash),
                self.smoke("sft-liger", "sft_train.py", "chat", "zero2", package="liger-kernel", use_liger_kernel=True),
            ]
        return cases

    def smoke(self, name: str, script: str, dataset: str, zero: str, package: str | None = None, **keys) -> Case:
        sections = {key: keys.pop(key) for key in ("peft", "quantization") if key in keys}
        batch = {"per_device_train_batch_size": 2, "global_batch_size": 4, "max_steps": 3, "bf16": True}
        sections["training"] = {**batch, "default_dtype": "bfloat16" if sections else "float32", **keys}
        command = self.stage(name, sections, dataset, base="tiny", script=[str(ROOT / "scripts" / script)])
        command += ["--deepspeed", str(ROOT / "config" / "deepspeed" / f"{zero}.json")]
        return Case(name, command, SMOKE_LIMIT, package)

    def measurements(self) -> list[Case]:
        """Return what is measured, the most telling first."""
        flash = "flash_attention_2" if self.versions.get("flash-attn") else None
        first, others = (flash, ["flex_attention"]) if flash else ("flex_attention", [])
        if not self.gpu:
            first, others = "sdpa", []
        return [
            self.ours("lora", first),
            self.upstream("lora"),
            self.ours("dpo", flash or "sdpa"),
            self.upstream("dpo"),
            *(self.ours("lora", attention) for attention in [*others, *(["sdpa"] if self.gpu else [])]),
        ]

    def ours(self, method: str, attention: str) -> Case:
        """Return a stage as it would be set for speed: no recomputation, rows a pass by the GPU's memory."""
        memory = self.gpu.get("memory_gib", 0)
        rows = 4 if memory > 120 else 2 if memory > 70 else 1
        if method == "lora" and attention == "sdpa":
            rows = 1  # it computes the whole rectangle of all tokens of a pass and masks most of it
        return self.ours_with(method, attention, rows, recompute=bool(self.gpu) and memory < 60)

    def ours_with(self, method: str, attention: str, rows: int, recompute: bool) -> Case:
        """Return the stage with so many rows a pass; `lighter` needs less memory, for when that was too much."""
        keys = {"per_device_train_batch_size": rows, "attn_implementation": attention}
        keys |= {"activation_checkpointing": recompute, "bf16": True, "max_steps": self.steps, "learning_rate": 1e-5}
        keys["global_batch_size"] = PACKED_ROWS if method == "lora" else PAIRS
        if method == "lora":
            keys |= {"packing": True, "packing_strategy": "bfd"}
            if attention == "flex_attention":  # one shape, so that it is compiled once
                keys["pad_to_multiple_of"] = LENGTH * rows
        if self.versions.get("liger-kernel"):
            keys["use_liger_kernel"] = True
        name = f"{method}-ours-{attention.removesuffix('_2').replace('_', '-')}"
        label = f"{name}-{rows}{'-recomputed' if recompute else ''}"
        sections = {"training": keys, "peft": LORA, "tracking": {"save_steps": 10**6}}
        dataset = {"lora": "chat", "dpo": "preference"}[method]
        script = [str(PROGRAMS / "measured_stage.py"), method, f"{label}.json"]
        command = self.stage(label, sections, dataset, base="base", script=script)
        lighter = None
        if rows > 1:
            lighter = self.ours_with(method, attention, rows // 2, recompute)
        elif not recompute:
            lighter = self.ours_with(method, attention, rows, True)
        return Case(name, command, MEASUREMENT_LIMIT, result=f"{label}.json", lighter=lighter)

    def upstream(self, method: str) -> Case:
        """Return TRL's trainer as it comes, with our rows a step."""
        examples = EXAMPLES if method == "lora" else PAIRS
        longest = (LENGTH if method == "lora" else PAIR_LENGTH) if self.gpu else 64
        arguments = {"max_length": longest, "max_steps": self.steps, "report_to": "none", "save_strategy": "no"}
        arguments["gradient_accumulation_steps"] = examples // UPSTREAM_BATCH
        if not self.gpu:
            arguments["use_cpu"] = True
        plan = json.dumps({"arguments": arguments, "peft": LORA})
        program = [sys.executable, str(PROGRAMS / "measured_upstream.py"), method, f"{method}-upstream.json", plan]
        return Case(f"{method}-upstream", program, MEASUREMENT_LIMIT, result=f"{method}-upstream.json")

    def stage(self, name: str, sections: dict, dataset: str, base: str, script: list[str]) -> list[str]:
        """Return the launcher's command line of a stage with these sections of a run's file, which it writes."""
        (self.folder / f"{name}.yaml").write_text(json.dumps(sections))
        paths = ["--dataset", dataset, "--base", base, "--output", f"out/{name}"]
        return [*LAUNCH, *script, "--config", f"{name}.yaml", *paths]

    def run(self, case: Case, clock: Clock) -> dict:
        """Run a case to its end or its limit and return what came of it; out of memory, once more as `lighter`."""
        if case.package and not self.versions.get(case.package):
            return {"outcome": "not run", "reason": f"{case.package} is not installed"}
        limit = min(case.limit, clock.left())
        if clock.left() < 15:  # seconds; no program begins to train in less
            return {"outcome": "not run", "reason": "the budget of time is spent"}
        started = time.monotonic()
        log = self.folder / f"{case.name}.log"
        with log.open("wb") as output:
            program = subprocess.Popen(
                case.command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                exit_code = program.wait(limit)
            except subprocess.TimeoutExpired:
                program.kill()  # the launcher's ranks end with it
                program.wait()
                exit_code = None
        took = {"wall_s": round(time.monotonic() - started, 1)}
        said = log.read_text(errors="replace")
        measured = self.folder / case.result if case.result else None
        if exit_code == 0 and (measured is None or measured.is_file()):
            figures = json.loads(measured.read_text()) if measured else {}
            return {"outcome": "passed", **took, **figures, **self.settings(case)}
        if case.lighter and "out of memory" in said.lower():
            return {**self.run(case.lighter, clock), "out_of_memory_before": self.settings(case)}
        reason = f"ended with {exit_code}" if exit_code is not None else f"took longer than {limit:.0f} s"
        return {
            "outcome": "failed",
            "reason": reason,
            **took,
            "last_lines": self.without_paths(said).splitlines()[-12:],
        }

    def without_paths(self, text: str) -> str:
        """Return a program's output without where this repository and the temporary folder lie."""
        return text.replace(str(self.folder), "").replace(str(ROOT), ".")

    def settings(self, case: Case) -> dict:
        """Return the `training:` section of a measured stage, TRL's arguments of a measured upstream."""
        if not case.result:
            return {}
        file = self.folder / case.result.replace(".json", ".yaml")
        if file.is_file():
            return {"settings": json.loads(file.read_text()).get("training", {})}
        return {"settings": json.loads(case.command[-1])} if case.command[-1].startswith("{") else {}


class Record:
    """What came of the cases so far; on a GPU also as the result file."""

    def __init__(self, file: Path, gpu: dict, lengths: dict) -> None:
        self.file, self.gpu = file, gpu
        self.result = {"machine": {**machine(), **gpu}, "model": LLAMA_3_8B, "lengths": lengths}
        self.result |= {"smoke": {}, "measurements": {}}

    def add(self, part: str, case: Case, outcome: dict) -> None:
        """Record and print what came of a case."""
        self.result[part][case.name] = outcome
        print(f"{case.name:28} {outcome['outcome']:8} {self.told(outcome)}", flush=True)
        if self.gpu:
            self.result["claims"] = claims(self.result["measurements"])
            write_result(self.file, self.result)

    def told(self, outcome: dict) -> str:
        if outcome["outcome"] != "passed":
            return "\n    ".join([outcome["reason"], *outcome.get("last_lines", [])])
        if "tokens_per_s" not in outcome or not self.gpu:
            return f"{outcome['wall_s']:.0f} s"
        mfu = f"MFU {outcome['mfu']:.1%}" if "mfu" in outcome else "MFU unknown"
        return f"{outcome['tokens_per_s']:,} tokens/s  {mfu}  {outcome['peak_memory_gib']} GiB"

    def outcomes(self) -> list[dict]:
        return [*self.result["smoke"].values(), *self.result["measurements"].values()]

    def tell(self) -> None:
        """Print what can be claimed now."""
        if self.gpu:
            print(json.dumps(claims(self.result["measurements"]), indent=2))
        else:
            print("This was a rehearsal with tiny shapes: nothing was measured, and no result was written.")


def claims(measurements: dict[str, dict]) -> dict[str, dict]:
    """Return the targets with what was measured for them, as far as it was: None is no claim."""

    def best(beginning: str) -> float | None:
        speeds = [case.get("tokens_per_s") for name, case in measurements.items() if name.startswith(beginning)]
        return max(filter(None, speeds), default=None)

    def ratio(method: str) -> float | None:
        ours, theirs = best(f"{method}-ours"), best(f"{method}-upstream")
        return round(ours / theirs, 2) if ours and theirs else None

    measured = {"lora_tokens_per_s": best("lora-ours"), "dpo_times_upstream": ratio("dpo")}
    compared = {
        name: {"target": target, "measured": measured[name], "reached": measured[name] and measured[name] >= target}
        for name, target in TARGETS.items()
    }
    return {**compared, "lora_times_upstream": {"measured": ratio("lora")}}


if __name__ == "__main__":
    main()
