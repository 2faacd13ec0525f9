"""A stage trains as a plain script of the upstream library does, on any number of ranks, to a millionth."""

import json

import pytest
import torch
from safetensors.torch import load_file
from training_workplace import NAMES, ROOT, THINGS, chats

STEPS = 6
TRAINING = {"learning_rate": 3e-3, "max_steps": STEPS, "per_device_train_batch_size": 2, "weight_decay": 0.1}
GLOBAL_BATCH_SIZE = 16
OWN = {"kto": {"per_device_train_batch_size": 4, "global_batch_size": 8}}
"""One pass a step on two ranks: TRL's estimate of KL is of a pass, ours of a step."""
SCRIPTS = {"trainer": "train.py", "sft": "sft_train.py", "dpo": "dpo_train.py", "orpo": "orpo_train.py"}
SCRIPTS |= {"reward": "reward_train.py", "kto": "kto_train.py"}
FUNCTIONS = {
    "text": "plain_text_processing_function",
    "chat": "dummy_processing_function",
    "preference": "dummy_rlhf_processing_function",
}
KINDS = {
    "trainer": "text",
    "sft": "chat",
    "dpo": "preference",
    "orpo": "preference",
    "reward": "preference",
    "kto": "preference",
}


def raw_rows(kind):
    """Return rows of a kind as the raw files of a user have them."""
    if kind == "text":
        return [
            {"text": f"{name} has {thing}. " * (1 + len(name + thing) % 3)} for name in NAMES for thing in THINGS
        ] * 7
    if kind == "chat":
        return [{"messages": prompt + answer} for prompt, answer in chats(140, seed=4)]
    return [
        {"prompt": prompt, "chosen": answer, "rejected": [{**answer[0], "content": "a thing."}]}
        for prompt, answer in chats(140, seed=5)
    ]


def upstream_rows(method):
    """Return the same rows as the library of a method wants them."""
    rows = raw_rows(KINDS[method])
    if method == "trainer":
        return [{"text": row["text"] + "<|end|>"} for row in rows]
    if method == "sft":
        return [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    if method == "kto":  # single answers, in the order that the stage draws
        judged = [(side, row) for side in ("chosen", "rejected") for row in rows]
        rows = [{"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for side, row in judged]
        rows = [rows[at] for at in torch.randperm(len(rows), generator=torch.Generator().manual_seed(42))]
    return rows


@pytest.fixture(scope="module")
def datasets(workplace):
    """The rows, processed by the stage that a run would use."""
    for kind, function in FUNCTIONS.items():
        (workplace.folder / f"raw-{kind}").mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in raw_rows(kind))
        (workplace.folder / f"raw-{kind}" / "train.jsonl").write_text(lines)
        config = workplace.config(f"{kind}.yaml", processing={"processing_function": function, "max_length": 64})
        workplace.launch(
            *("python", str(ROOT / "scripts" / "create_dataset.py"), "--config", config, "--sections", "processing"),
            *("--raw", f"raw-{kind}", "--tokenizer", "tokenizer", "--output", f"same/{kind}"),
            *("--statistics", f"same/{kind}.json"),
        )


def train_here(workplace, ranks):
    """Train by every method on `ranks`; return the folder of the results and the exact losses by method."""
    trainings, place = [], f"ranks-{ranks}"
    for method, script in SCRIPTS.items():
        if ranks == 4 and method in OWN:
            continue
        command = workplace.training(
            *(script, f"{place}/{method}"),
            dataset=f"same/{KINDS[method]}",
            base="model",
            training={**TRAINING, "global_batch_size": GLOBAL_BATCH_SIZE, **OWN.get(method, {})},
            tracking={"save_steps": STEPS},
        )
        trainings.append({"arguments": command[1:], "work": f"{place}/{method}/work"})
    workplace.torchrun("many_trainings.py", trainings, ranks)
    folder = workplace.folder / place
    losses = {}
    for method in [method for method in SCRIPTS if (folder / method).is_dir()]:
        history = json.loads((folder / method / "work" / f"checkpoint-{STEPS}" / "loss_history.json").read_text())
        losses[method] = [row["loss"] for row in history["rows"] if "loss" in row]
    return folder, losses


@pytest.fixture(scope="module")
def two_ranks(workplace, datasets):
    return train_here(workplace, ranks=2)


def upstream_batches(method):
    """Return the arguments of a method whose batches are others."""
    each = OWN.get(method, {}).get("per_device_train_batch_size")
    return {"per_device_train_batch_size": each, "gradient_accumulation_steps": 1} if each else {}


@pytest.fixture(scope="module")
def upstream(workplace):
    """Train by plain scripts on two ranks: the folder of their results."""
    arguments = {**TRAINING, "gradient_accumulation_steps": GLOBAL_BATCH_SIZE // 4, "gradient_checkpointing": False}
    arguments |= {"deepspeed": str(ROOT / "config" / "deepspeed" / "zero2.json"), "seed": 42, "save_strategy": "no"}
    jobs = [
        {
            "method": method,
            "model": "model",
            "rows": upstream_rows(method),
            "arguments": arguments | upstream_batches(method),
            "output": f"upstream/{method}",
        }
        for method in SCRIPTS
    ]
    workplace.torchrun("plain_upstream.py", jobs)
    return workplace.folder / "upstream"


@pytest.mark.parametrize("method", SCRIPTS)
def test_the_stage_trains_as_the_library_does(two_ranks, upstream, method):
    folder, losses = two_ranks
    expected = json.loads((upstream / method / "losses.json").read_text())
    assert losses[method] == pytest.approx(expected, abs=1e-6)
    ours = load_file(folder / method / "checkpoint" / "model.safetensors")
    theirs = load_file(upstream / method / "model.safetensors")
    assert ours.keys() == theirs.keys()
    # ORPO's loss is ours, summed in another order: where a gradient is near 0, AdamW divides its last digits by it
    tolerance = 2e-5 if method == "orpo" else 1e-6
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=tolerance, rtol=0.0)
    assert losses[method][-1] < losses[method][0]  # something was learned, so there was something to compare


@pytest.mark.parametrize("ranks", [1, 4])
def test_the_global_batch_makes_the_same_maths_on_any_number_of_ranks(workplace, two_ranks, ranks):
    _, losses = train_here(workplace, ranks)
    for method, expected in two_ranks[1].items():
        if ranks == 4 and method in OWN:
            continue
        assert losses[method] == pytest.approx(expected, abs=1e-5), method
