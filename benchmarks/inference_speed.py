"""How fast each engine answers, and in how much memory, against a bare loop over `generate` with the same batches.

    python benchmarks/inference_speed.py [--executions 3] [--only bare,continuous] [--ranks 1 2] [--prompts 96]
                                         [--new-tokens 64] [--output FILE]

On a CPU a Llama of 6 million parameters answers 96 prompts with up to 64 tokens, by one rank and by two; on a GPU one
with the shape of Llama 3 8B (bfloat16) answers 512 prompts with up to 256, by one. Weights and prompts are drawn from a
seed, prompts with the lengths of gpu_programs/inputs.py. Every execution is a process of its own; the cases take turns.
Reported are medians: tokens a second of wall time, tokens a CPU second of all ranks together (the one to go by where
other programs run beside), peak memory of a rank. An engine's time counts the log-probabilities that it reports and
`generate` does not. `vllm` is set against `bare_vllm`, vLLM's own `LLM.generate` in the same environment with the same
settings; both need `make setup-vllm`. Written to benchmarks/results/inference_speed_{cpu,gpu}.json without --output.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import RESULTS, machine, write_result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "gpu_programs"))
PROGRAM = HERE / "inference_programs" / "measured_answers.py"
ENGINES = ("accelerate", "deepspeed", "deepspeed_zero", "continuous", "bare_vllm", "vllm")
BARE = {"vllm": "bare_vllm"}
"""Engine → what it is set against; all others against `bare`."""
BATCH = 8
PROMPTS, NEW_TOKENS, RANKS = {"cpu": 96, "gpu": 512}, {"cpu": 64, "gpu": 256}, {"cpu": [1, 2], "gpu": [1]}
SMALL = {"vocab_size": 2048, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6}
SMALL |= {"num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 1024}
TARGETS = {"cpu": {"engine_times_bare": 1.5, "vllm_times_bare_vllm": 1.2}, "gpu": {"continuous_times_accelerate": 5}}
"""What is aimed at: on a CPU no engine takes longer than so many times the bare loop; on a GPU continuous batching
makes so many times the tokens of static batches of 8."""


def main() -> None:
    options = parse_arguments()
    gpu = gpu_name()
    place = "gpu" if gpu else "cpu"
    prompts, new_tokens = options.prompts or PROMPTS[place], options.new_tokens or NEW_TOKENS[place]
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder), gpu is not None, prompts, new_tokens)
        cases = [
            (name, ranks)
            for ranks in options.ranks or RANKS[place]
            for name in ("bare", *ENGINES)
            if not options.only or name in options.only.split(",")
        ]
        found: dict[tuple[str, int], list[dict]] = {case: [] for case in cases}
        for turn in range(options.executions):
            for case in cases:
                found[case].append(execute(*case, Path(folder)))
                print(f"{turn + 1}  {case[0]:16} {case[1]} rank(s)  {told(found[case][-1])}", flush=True)
    medians = {f"{name}-{ranks}": median(costs) for (name, ranks), costs in found.items()}
    packages = machine("torch", "transformers", "accelerate", "deepspeed") | ({"gpu": gpu} if gpu else {})
    result = {"machine": packages, "prompts": prompts, "max_new_tokens": new_tokens, "test_batch_size": BATCH}
    result |= {"executions": options.executions, "medians": medians}
    result["claims"] = claims(medians, place)
    print(json.dumps(result["claims"], indent=2))
    write_result(options.output or RESULTS / f"inference_speed_{place}.json", result)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=3, help="of every case")
    parser.add_argument("--only", default="", help="names of cases, a,b")
    parser.add_argument("--ranks", type=int, nargs="+", help=f"numbers of ranks (default: {RANKS})")
    parser.add_argument("--prompts", type=int, help=f"how many (default: {PROMPTS})")
    parser.add_argument("--new-tokens", type=int, help=f"of an answer, at most (default: {NEW_TOKENS})")
    parser.add_argument("--output", type=Path, help="result file (default: results/inference_speed_{cpu,gpu}.json)")
    return parser.parse_args()


def gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def make_inputs(folder: Path, large: bool, prompts: int, new_tokens: int) -> None:
    """Write base/ (weights drawn from a seed, tokenizer) and plan.json (prompts and how to answer them)."""
    import numpy as np
    import torch
    from gpu_training import LLAMA_3_8B
    from inputs import answered, make_models
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = LLAMA_3_8B if large else SMALL
    make_models(folder, shape)
    torch.manual_seed(0)
    with torch.device("cuda" if large else "cpu"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder / "base"), dtype=torch.bfloat16 if large else torch.float32
        )
    model.save_pretrained(folder / "base")
    del model
    if large:
        torch.cuda.empty_cache()
    rng = np.random.default_rng(0)
    drawn = [answered(rng, shape["vocab_size"], 2048 if large else 512, 1, answers=0)[0] for _ in range(prompts)]
    plan = {"prompts": drawn, "max_new_tokens": new_tokens, "test_batch_size": BATCH}
    (folder / "plan.json").write_text(json.dumps(plan))


def execute(name: str, ranks: int, folder: Path) -> dict[str, float]:
    """Return what one execution of a case measured. Raises RuntimeError with its output when it fails."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = folder / "result"
    done = subprocess.run(
        [*torchrun, str(PROGRAM), name, str(folder), str(result)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name} with {ranks} rank(s) ended with {done.returncode}:\n{done.stdout[-4000:]}")
    parts = [json.loads(Path(f"{result}.{rank}").read_text()) for rank in range(ranks)]
    tokens, wall = sum(part["tokens"] for part in parts), max(part["wall_s"] for part in parts)
    memory = {name: max(part[name] for part in parts) for name in parts[0] if name.startswith("peak")}
    cpu = sum(part["cpu_s"] for part in parts)
    return {"tokens": tokens, "tokens_per_s": tokens / wall, "tokens_per_cpu_s": tokens / cpu, **memory}


def told(cost: dict[str, float]) -> str:
    return f"{cost['tokens_per_s']:9,.0f} tokens/s  {cost['tokens_per_cpu_s']:9,.0f} tokens/CPU second"


def median(costs: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of several executions."""
    return {name: round(statistics.median(cost[name] for cost in costs), 1) for name in costs[0]}


def claims(medians: dict[str, dict[str, float]], place: str) -> dict[str, dict]:
    """Return the targets with what was measured for them; a case that was left out makes no claim."""
    if place == "gpu":
        ((name, target),) = TARGETS[place].items()
        speeds = [medians.get(f"{engine}-1", {}).get("tokens_per_s") for engine in ("continuous", "accelerate")]
        times = round(speeds[0] / speeds[1], 2) if all(speeds) else None
        return {name: {"target": target, "measured": times, "reached": times is not None and times >= target}}
    found: dict[str, dict[str, float]] = {name: {} for name in TARGETS[place]}
    for case, cost in medians.items():
        engine, ranks = case.rsplit("-", 1)
        against = medians.get(f"{BARE.get(engine, 'bare')}-{ranks}")
        if not engine.startswith("bare") and against is not None:
            name = "vllm_times_bare_vllm" if engine in BARE else "engine_times_bare"
            found[name][case] = round(against["tokens_per_cpu_s"] / cost["tokens_per_cpu_s"], 2)
    return {
        name: {
            "target": target,
            "measured": found[name],
            "reached": max(found[name].values(), default=target) <= target,
        }
        for name, target in TARGETS[place].items()
        if found[name]
    }


if __name__ == "__main__":
    main()
