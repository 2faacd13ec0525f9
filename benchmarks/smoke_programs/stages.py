"""What real stages must do on a GPU, under the launcher: `python stages.py NAME RESULT.json`, in the smoke's folder.

RESULT gets {"figure": text}. The folder holds what gpu_training.Place.make_inputs makes.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (sys.executable, str(ROOT / "scripts" / "launch.py"), "torchrun")
GPU = os.environ.get("CUDA_VISIBLE_DEVICES", "") != ""
TRAINING = {"per_device_train_batch_size": 2, "global_batch_size": 4, "max_steps": 8, "bf16": True}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": "bfloat16"}
PROMPTS, NEW_TOKENS = 16, 16
STOPPED_STEPS = 60  # so many that a signal comes before the last


def trained(name: str, zero: str, wait: bool = True, **sections: dict) -> subprocess.Popen:
    """Start SFT on the tiny model, to its end if it is to `wait`; its output is NAME.log."""
    Path(f"{name}.yaml").write_text(json.dumps(sections))
    paths = ["--config", f"{name}.yaml", "--dataset", "chat", "--base", "tiny", "--output", f"out/{name}"]
    paths += ["--loss", f"{name}.csv", "--deepspeed", str(ROOT / "config" / "deepspeed" / f"{zero}.json")]
    with Path(f"{name}.log").open("ab") as log:
        program = subprocess.Popen(
            [*LAUNCH, str(ROOT / "scripts" / "sft_train.py"), *paths], stdout=log, stderr=subprocess.STDOUT
        )
    if wait and program.wait():
        sys.exit(f"{name} ended with {program.returncode}:\n{Path(f'{name}.log').read_text()[-3000:]}")
    return program


def losses(name: str) -> list[float]:
    with Path(f"{name}.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def deterministic() -> str:
    """Two trainings with the key end with the same bytes."""
    keys = {"training": {**TRAINING, "deterministic": True, "max_steps": 3}}
    for name in ("first", "second"):
        trained(f"deterministic-{name}", "zero2", **keys)
    one, other = (Path(f"out/deterministic-{name}/model.safetensors").read_bytes() for name in ("first", "second"))
    assert one == other, "two trainings with deterministic: true end with other weights"
    return "two trainings, the same bytes"


def interrupted(name: str, zero: str, **sections: dict) -> str:
    """Stop a training by SIGTERM, start it again, and hold its losses against those of one that was not stopped."""
    keys = {
        "training": {**TRAINING, "deterministic": True, "max_steps": STOPPED_STEPS},
        "tracking": {"logging_steps": 1},
        **sections,
    }
    trained(f"{name}-whole", zero, **keys)
    stopped = trained(f"{name}-stopped", zero, wait=False, **keys)
    log = Path(f"{name}-stopped.log")
    while "step 3/" not in log.read_text():
        assert stopped.poll() is None, log.read_text()[-3000:]
        time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    code = stopped.wait()
    assert code == 128 + signal.SIGTERM, f"it ended with {code}, not by the signal"
    trained(f"{name}-stopped", zero, **keys)
    assert "resuming from" in log.read_text(), "it began anew"
    whole, resumed = losses(f"{name}-whole"), losses(f"{name}-stopped")
    off = max(abs(one - other) for one, other in zip(whole, resumed, strict=True))
    assert off < 1e-3, f"losses are off by {off}"
    return f"losses off by {off:.1e} after the stop"


def interruption_zero3() -> str:
    return interrupted("interruption-zero3", "zero3")


def interruption_qlora() -> str:
    return interrupted("interruption-qlora", "zero2", peft={"r": 4}, quantization=NF4)


def answered(name: str, **keys: object) -> list[str]:
    """Let the tiny model answer the prompts; return the completions."""
    Path(f"{name}.yaml").write_text(json.dumps({"generation": {"max_new_tokens": NEW_TOKENS, **keys}}))
    words = [
        "--config",
        f"{name}.yaml",
        "--checkpoint",
        "tiny",
        "--prompts",
        "prompts.jsonl",
        "--output",
        f"out/{name}",
    ]
    done = subprocess.run(
        [*LAUNCH, str(ROOT / "scripts" / "inference.py"), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"{name} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    rows = Path(f"out/{name}/generations.jsonl").read_text().splitlines()
    return [json.loads(row)["completion"] for row in rows]


def inference() -> str:
    """Every engine gives the same answers in float32; how many flip in bf16 is told."""
    prompts = [" ".join(f"t{2 + (7 * row + place) % 90}" for place in range(4 + row)) for row in range(PROMPTS)]
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    exact = {"default_dtype": "float32"}
    engines = {"accelerate": exact, "accelerate-bf16": {"default_dtype": "bfloat16"}}
    if GPU:
        engines |= {name: {**exact, "engine": name} for name in ("deepspeed", "deepspeed_zero", "continuous")}
        engines["deepspeed_zero-offload"] = {**exact, "engine": "deepspeed_zero", "cpu_offload": True}
    with ThreadPoolExecutor(2) as pool:
        found = dict(
            zip(engines, pool.map(lambda name: answered(f"answers-{name}", **engines[name]), engines), strict=True)
        )
    differ = {
        name: sum(one != other for one, other in zip(answers, found["accelerate"], strict=True))
        for name, answers in found.items()
    }
    flipped = differ.pop("accelerate-bf16")
    assert not any(differ.values()), f"answers that differ from accelerate's, of {PROMPTS}: {differ}"
    return f"{len(differ)} engines agree in float32; bf16 flips {flipped} of {PROMPTS} answers"


def offload() -> str:
    """Steps of an optimizer in main memory, with one thread and with all."""
    took = {}
    for threads in (1, os.cpu_count() or 1):
        os.environ["OMP_NUM_THREADS"] = str(threads)
        started = time.monotonic()
        trained(f"offload-{threads}", "zero3_offload", training={**TRAINING, "max_steps": 3})
        took[threads] = time.monotonic() - started
    return ", ".join(f"{threads} threads {seconds:.0f} s" for threads, seconds in took.items()) + " for a tiny stage"


STAGES = {
    function.__name__.replace("_", "-"): function
    for function in (deterministic, interruption_zero3, interruption_qlora, inference, offload)
}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps({"figure": STAGES[sys.argv[1]]()}))
