"""A small project folder with made-up results, as the stages write them."""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HOSTILE = '</script><script>console.error("run")</script><img src=x onerror="console.error(1)"> & "quoted"'
"""What a model may answer, and no page may execute."""
HOSTILE_NAME = "<img src=x onerror=console.error(2)>"
"""What a logged quantity may be called."""
SFT = {
    "base": "pre",
    "dataset": "chats",
    "trainer": "sft",
    "training": {"learning_rate": 2e-4, "seed": 0, "max_steps": 40},
    "generation": {"max_new_tokens": 8},
    "evaluation": {"metrics": ["exact_match", "patterns"], "patterns": {"polite": "^Gladly"}},
    "gates": {
        "patterns.polite": ">= 0.3",
        "exact_match": "not worse than sft-fast by 0.1",
        "harness.finds.acc": ">= 0.8",
    },
}
CONFIGS: dict[str, dict[str, Any]] = {
    "pre": {
        "base": "tiny",
        "dataset": "text",
        "trainer": "trainer",
        "deepspeed": "zero2",
        "training": {"learning_rate": 1e-3, "seed": 0, "max_steps": 40},
        "generation": {"dataset": "chats", "max_new_tokens": 8},
        "evaluation": {"metrics": ["exact_match"]},
    },
    "sft": SFT,
    "sft-seed1": {**SFT, "training": {**SFT["training"], "seed": 1}},
    "sft-fast": {**SFT, "training": {**SFT["training"], "learning_rate": 1e-3}},
}
HARNESS = {
    "finds": {"acc": 0.75, "acc_stderr": 0.01},
    "base": {"finds": {"acc": 0.5}},
    "change": {"finds.acc": {"difference": 0.25, "low": 0.2, "high": 0.3, "gained": 30, "lost": 5, "prompts": 100}},
}
SAMPLE = {
    "doc_id": 0, "filter": "none", "target": 1, "resps": [], "doc": {}, "metrics": ["acc"], "acc": 1.0,
    "context": f"Who found it? {HOSTILE}", "continuations": [" Ada", " Bo"],
    "filtered_resps": [[-2.0, False], [-1.0, False]],
}  # fmt: skip
EXACT_MATCH = {"pre": 0.02, "sft": 0.60, "sft-seed1": 0.66, "sft-fast": 0.64}
PERPLEXITY = {"pre": 9.0, "sft": 3.2, "sft-seed1": 3.1, "sft-fast": 2.9}


def make_project(folder: Path) -> Path:
    """Write configs and results of all runs below `folder`, and records of executions, one of which has a cost."""
    for name, config in CONFIGS.items():
        file = folder / f"config/runs/{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        YAML(typ="safe").dump(config, file)
        write(folder, f"metrics/training/{name}.json", training(name))
        write(folder, f"metrics/evaluation/{name}.json", evaluation(name))
        write(folder, f"metrics/harness/{name}.json", HARNESS)
        write(folder, f"samples/{name}/finds.jsonl", json_line(SAMPLE))
        write(folder, f"metrics/loss/{name}.csv", losses(name))
        write(folder, f"metrics/completions/{name}.jsonl", "".join(map(json_line, completions())))
        write(folder, f"generations/{name}/generations.jsonl", "".join(map(json_line, generations(name))))
    for dataset in ("text", "chats"):
        write(folder, f"metrics/data/{dataset}.json", {"train": statistics(5000), "test": statistics(120)})
    write(folder, ".heirloom/records/train-sft.json", record("train-sft"))
    write(folder, ".heirloom/throughput/train-sft.csv", throughput())
    write(folder, ".heirloom/costs/train-sft.json", {"job_key": IDENTITY, "cost_usd": 90.0})
    write(folder, ".heirloom/records/generate-sft.json", record("generate-sft"))
    write(folder, ".heirloom/costs/generate-sft.json", {"job_key": "another execution", "cost_usd": 7.0})
    return folder


def write(folder: Path, name: str, content: Any) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


TRAINED = {"loss": 1.6, "steps": 40, "tokens": 81_920, "kept_step": 30, "end": "early_stopping"}
TRAINED |= {"parameters": 1_234_567, "trained_parameters": 2_048}


def training(name: str) -> dict[str, Any]:
    after = PERPLEXITY[name]
    return {"before": {"loss": 6.6, "perplexity": 729.3}, "after": {"loss": 1.1, "perplexity": after}, "train": TRAINED}


def evaluation(name: str) -> dict[str, Any]:
    """Scores with intervals over prompts; `patterns.polite` has a change inside the noise, perplexity no interval."""
    exact = EXACT_MATCH[name]
    return {
        "answers": 100,
        "exact_match": exact,
        "perplexity": PERPLEXITY[name],
        "patterns": {"polite": 0.41},
        "interval": {
            "exact_match": {"low": exact - 0.02, "high": exact + 0.02, "prompts": 100},
            "patterns.polite": {"low": 0.31, "high": 0.51, "prompts": 100},
        },
        "base": {"exact_match": 0.02, "perplexity": 729.3, "patterns": {"polite": 0.39}},
        "change": {
            "exact_match": {
                "difference": exact - 0.02,
                "low": exact - 0.05,
                "high": exact + 0.01,
                "gained": 60,
                "lost": 2,
            },
            "patterns.polite": {"difference": 0.02, "low": -0.05, "high": 0.09, "gained": 12, "lost": 10},
        },
        "against": {"pre": {"win_rate": 0.8, "low": 0.7, "high": 0.88, "wins": 70, "ties": 20, "losses": 10}},
    }


def losses(name: str) -> str:
    """40 steps with a warm-up, held-out rows measured at the beginning and at the end."""
    rate = CONFIGS[name]["training"]["learning_rate"]
    rows = [f"step,eval_loss,loss,grad_norm,learning_rate,{HOSTILE_NAME}", "0,6.6,,,,"]
    for step in range(1, 41):
        loss = 1.2 + 5 / step + 0.1 * (step % 3) + len(name) / 40
        rows.append(f"{step},,{loss:.5g},{2 / step:.5g},{rate * min(step / 5, (41 - step) / 36):.5g},{-step}")
    rows[-1] = rows[-1].replace("40,,", "40,1.4,")
    return "\n".join(rows) + "\n"


def completions() -> list[dict[str, Any]]:
    """Answers of two steps that a training learned from, hostile ones, of a reward whose name is hostile too."""
    answers = [("Gladly!", 1.0, 0.5), (HOSTILE, 0.0, -0.5)]
    return [
        {
            "step": step, "row": 7, "prompt": f"Who? {HOSTILE}", "completion": text, "reference": HOSTILE,
            "rewards": {"polite": worth, HOSTILE_NAME: worth}, "reward": 2 * worth, "advantage": advantage,
            "completion_tokens": 2, "finish_reason": "stop" if worth else "length",
        }
        for step in (1, 40)
        for text, worth, advantage in answers
    ]  # fmt: skip


def throughput() -> str:
    """Speed and memory of 40 steps, of which the first half took 20 s each and the second half 10 s each."""
    rows = ["step,seconds,tokens,tokens_per_second,peak_memory_gib,mfu_percent,hostile"]
    for step in range(1, 41):
        seconds = 20 * step if step <= 20 else 400 + 10 * (step - 20)
        rows.append(f"{step},{seconds},{2048 * step},{102.4 if step <= 20 else 204.8},{min(step, 5)},12.5,1")
    return "\n".join(rows) + "\n"


def generations(name: str) -> list[dict[str, Any]]:
    """50 prompts: the answer to the first is hostile, those to every second one differ between runs."""
    places = ("am Fluß", "in the old harbour", "at the foot of the hills")
    rows = []
    for number in range(50):
        completion = (
            f"It is {places[number % 3]}." if number % 2 else f"Gladly! {name} says it is {places[number % 3]}."
        )
        rows.append(
            {
                "row_id": f"chats:{number}",
                "sample": 0,
                "dataset": "chats",
                "prompt": f"<|user|> Where is the house number {number}?\n<|assistant|>",
                "completion": completion if number else HOSTILE,
                "reference": f"It is {places[number % 3]}.",
                "finish_reason": "length" if number == 7 else "stop",
                "completion_tokens": 6 + number % 3,
                "logprob": -1.25,
            }
        )
    return rows


def statistics(rows: int) -> dict[str, Any]:
    return {
        "rows_in": rows,
        "rows_kept": rows - 7,
        "rows_dropped": 7,
        "dropped": {"too long": 5, "empty <answer>": 2},
        "tokens": rows * 70,
        "share_trained_on": 0.31,
        "rows_by_length": {"up_to_16": 0, "up_to_32": rows // 5, "up_to_64": rows // 2, "up_to_128": rows // 3},
    }


IDENTITY = "0123456789abcdef" * 4


def record(stage: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "identity": IDENTITY,
        "commit": "0123456789abcdef",
        "started": "2026-11-24T10:00:00Z",
        "seconds": 5400.0,
        "exit_code": 0,
        "ranks": {"nodes": 2, "per_node": 8, "device": "cuda"},
        "machine": {"system": "Linux", "processor": "x", "cores": 96},
        "versions": {"python": "3.11.7"},
    }
