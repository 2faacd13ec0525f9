"""How many tokens two CPU ranks train a second, for a Llama of about half a million parameters, by setting.

    python benchmarks/training_speed.py [--steps 30] [--only zero,batch] [--output FILE]

Each setting differs from the first line in what its name says and runs the real scripts/train.py under the launcher.
Reported per setting: tokens a second of wall time (means something on an idle machine only) and tokens a second of
CPU time times two (both ranks; close to the former when idle), over the steps after the fifth.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
WARM_UP = 5  # steps
VOCABULARY = 448
MODEL = {
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
BASELINE = {"zero": "zero2", "batch": 16, "length": 128}
SETTINGS = [
    BASELINE,
    *({**BASELINE, "zero": name} for name in ("none", "zero0", "zero1", "zero3")),
    *({**BASELINE, "batch": batch} for batch in (4, 8, 32, 64)),
    *({**BASELINE, "length": length, "batch": 2048 // length} for length in (32, 64, 256)),
    {**BASELINE, "optim": "adamw_torch"},
    {**BASELINE, "attn_implementation": "eager"},
    {**BASELINE, "bf16": True},
    {**BASELINE, "max_grad_norm": 0.0},
    {**BASELINE, "layers": 2, "width": 144},
    {**BASELINE, "layers": 8, "width": 64},
]


def main() -> None:
    if "--rank" in sys.argv:
        sys.argv.remove("--rank")
        train_and_measure()
        return
    parser = command_line(__doc__, "training_speed")
    parser.add_argument("--steps", type=int, default=30, help=f"of each training, more than {WARM_UP}")
    parser.add_argument("--only", default="", help="settings whose changed keys are among these, a,b")
    args = parser.parse_args()
    if args.steps <= WARM_UP:
        parser.error(f"--steps {args.steps}: the first {WARM_UP} steps do not count: give more")
    only = set(filter(None, args.only.split(",")))
    facts = machine("torch", "transformers", "accelerate", "deepspeed")
    results = {"machine": facts, "steps": args.steps, "baseline": BASELINE, "settings": {}}
    print(f"{'setting':42} {'wall tokens/s':>14} {'CPU tokens/s':>14} {'parameters':>11}", flush=True)
    for setting in SETTINGS:
        changed = {key: value for key, value in setting.items() if BASELINE.get(key) != value}
        if only and not only & set(changed):
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = run(setting, Path(folder), args.steps)
        name = " ".join(f"{key}={value}" for key, value in changed.items()) or "baseline"
        results["settings"][name] = result
        speeds = f"{result['tokens_per_s']:14,} {result['tokens_per_cpu_s']:14,}"
        print(f"{name:42} {speeds} {result['parameters']:11,}", flush=True)
    write_result(args.output, results)


def run(setting: dict, folder: Path, steps: int) -> dict[str, float]:
    """Make data and model in `folder`, train under the launcher, and return what rank 0 measured."""
    made = make_inputs(setting, folder, steps)
    zero = [] if setting["zero"] == "none" else ["--deepspeed", str(ROOT / f"config/deepspeed/{setting['zero']}.json")]
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts/launch.py"), "torchrun", str(Path(__file__).resolve()), "--rank"),
            *("--config", "run.yaml", "--dataset", "data", "--base", "model", "--output", "out", *zero),
        ],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads((folder / "speed.json").read_text()) | made


def make_inputs(setting: dict, folder: Path, steps: int) -> dict[str, int]:
    import numpy as np
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    length, batch = setting["length"], setting["batch"]
    rows = np.random.default_rng(0).integers(0, VOCABULARY, (steps * batch * 2, length))
    Dataset.from_dict({"input_ids": rows.tolist()}).save_to_disk(folder / "data/train")
    (folder / "data/dataset.json").write_text(json.dumps({"kind": "text", "max_length": length}))
    vocabulary = {f"t{number}": number for number in range(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="t0")), eos_token="t1", pad_token="t0"
    )
    tokenizer.save_pretrained(folder / "model")
    shape = {**MODEL, "vocab_size": VOCABULARY}
    if "width" in setting:
        width = setting["width"]
        shape |= {"hidden_size": width, "intermediate_size": width * 8 // 3, "num_hidden_layers": setting["layers"]}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape))
    model.save_pretrained(folder / "model")
    passed = {key: setting[key] for key in ("optim", "attn_implementation", "bf16", "max_grad_norm") if key in setting}
    training = {"per_device_train_batch_size": batch, "global_batch_size": batch * 2, "max_steps": steps, **passed}
    (folder / "run.yaml").write_text(json.dumps({"training": training}))
    return {"parameters": model.num_parameters()}


def train_and_measure() -> None:
    """Run train.py in this rank with a callback that takes the time; rank 0 writes speed.json."""
    import heirloom.rank  # noqa: F401
    import train
    from heirloom.distributed import is_main_rank
    from heirloom.training import lifecycle

    class Meter(lifecycle.Progress):
        def on_log(self, args, state, control, logs, **kwargs):
            now = (time.monotonic(), time.process_time(), state.num_input_tokens_seen)
            if state.global_step == WARM_UP:
                self.begun = now
            elif state.global_step == state.max_steps and "loss" in logs and is_main_rank():
                wall, cpu, tokens = (end - start for end, start in zip(now, self.begun, strict=True))
                speeds = {"tokens_per_s": round(tokens / wall), "tokens_per_cpu_s": round(tokens / cpu)}
                Path("speed.json").write_text(json.dumps(speeds))

    lifecycle.Progress = Meter
    train.main()


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
