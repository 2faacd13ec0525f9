"""Every method with adapters, quantized bases and packed rows, at ZeRO-2 and ZeRO-3: losses, what is saved, refusals.

The losses are fixed numbers, so that nothing changes unseen; both stages of ZeRO must give the same.
"""

import csv
import json
import math
import shutil

import pytest
import torch
from safetensors import safe_open
from training_workplace import ROOT, TRAINING, tree, write_dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerState,
)

from heirloom.training.batches.packed_rows import write_packed_rows
from heirloom.training.inputs.training_data import load_training_data

LORA = {"r": 4, "merge": True}
"""Merged, so that each checkpoint is a whole model; adapters alone: test_adapter_chains.py, test_best_state.py."""
NF4 = {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}
FP4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"} | {
    "bnb_4bit_compute_dtype": "float32",
    "bnb_4bit_quant_storage": "float32",
}
INT8 = {"load_in_8bit": True}
JOINED = ["experts.gate_up_proj", "experts.down_proj"]
PACKED = {"packing": True, "seq_length": 128}
STEPS = 3

# name: (script, dataset, sections, held-out loss before, after)
METHODS = {
    "trainer-lora": (
        *("train.py", "text", {"peft": {**LORA, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}}),
        *(3.67163, 3.23583),
    ),
    "trainer-nf4": ("train.py", "text", {"peft": LORA, "quantization": NF4}, 3.67281, 3.65427),
    "trainer-int8": (
        "train.py",
        "text",
        {"peft": LORA, "quantization": INT8, "training": {"bf16": True}},
        3.67588,
        3.65783,
    ),
    "seq2seq-lora": ("seq2seq_train.py", "chat", {"peft": LORA}, 3.76455, 3.70196),
    "seq2seq-nf4": ("seq2seq_train.py", "chat", {"peft": LORA, "quantization": NF4}, 3.76364, 3.70186),
    "sft-lora": ("sft_train.py", "chat", {"peft": LORA}, 3.76455, 3.70196),
    "sft-dora-rslora": (
        *(
            "sft_train.py",
            "chat",
            {"peft": {**LORA, "use_dora": True, "use_rslora": True, "target_modules": "q_proj, v_proj"}},
        ),
        *(3.76455, 3.72993),
    ),
    "sft-nf4": ("sft_train.py", "chat", {"peft": LORA, "quantization": NF4}, 3.76364, 3.70173),
    "sft-int8": (
        "sft_train.py",
        "chat",
        {"peft": LORA, "quantization": INT8, "training": {"bf16": True}},
        3.76886,
        3.70672,
    ),
    "sft-bfd": ("sft_train.py", "chat", {"training": PACKED}, 3.76455, 3.42619),
    "sft-wrapped": (
        *("sft_train.py", "chat", {"training": {**PACKED, "packing_strategy": "wrapped", "pad_to_multiple_of": 8}}),
        *(3.76455, 3.42353),
    ),
    "sft-padding-free": ("sft_train.py", "chat", {"training": {"padding_free": True}}, 3.76455, 3.424),
    "sft-bf16-checkpointing": (
        *("sft_train.py", "chat", {"peft": LORA, "training": {"bf16": True, "gradient_checkpointing": True}}),
        *(3.76832, 3.70636),
    ),
    "sft-experts": (
        *("sft_train.py", "chat", {"peft": {**LORA, "target_modules": ["q_proj"], "target_parameters": JOINED}}),
        *(5.67694, 5.63706),
    ),
    "dpo-lora": (
        *("dpo_train.py", "preference", {"peft": LORA, "training": {"loss_type": "ipo", "beta": 0.2}}),
        *(6.25, 5.08629),
    ),
    "dpo-fp4": ("dpo_train.py", "preference", {"peft": LORA, "quantization": FP4}, 0.693147, 0.642739),
    "dpo-int8": (
        *("dpo_train.py", "preference", {"peft": LORA, "quantization": INT8, "training": {"bf16": True}}),
        *(0.693147, 0.643746),
    ),
    "dpo": ("dpo_train.py", "preference", {}, 0.693147, 0.501374),
    "dpo-scored": ("dpo_train.py", "preference", {}, 0.693147, 0.501374),
    "orpo": ("orpo_train.py", "preference", {}, 4.3986, 3.83841),
    "orpo-lora": ("orpo_train.py", "preference", {"peft": LORA}, 4.3986, 4.24338),
    "orpo-int8": (
        *("orpo_train.py", "preference", {"peft": LORA, "quantization": INT8, "training": {"bf16": True}}),
        *(4.40198, 4.24601),
    ),
    "orpo-nf4": (
        *("orpo_train.py", "preference", {"peft": LORA, "quantization": NF4, "training": {"bf16": True}}),
        *(4.39058, 4.22695),
    ),
    "kto": ("kto_train.py", "preference", {}, 0.5, 0.481524),
    "kto-scored": ("kto_train.py", "preference", {}, 0.5, 0.481524),
    "kto-lora": ("kto_train.py", "preference", {"peft": LORA}, 0.5, 0.487919),
    "reward": ("reward_train.py", "preference", {"training": {"center_rewards_coefficient": 0.01}}, 0.693847, 0.345016),
    "reward-lora": ("reward_train.py", "preference", {"peft": LORA}, 0.692831, 0.646378),
    "reward-nf4": ("reward_train.py", "preference", {"peft": LORA, "quantization": NF4}, 0.692385, 0.64474),
    "reward-int8": (
        *("reward_train.py", "preference", {"peft": LORA, "quantization": INT8, "training": {"bf16": True}}),
        *(0.693081, 0.64652),
    ),
}
ADAPTED = [name for name, (_, _, sections, *_) in METHODS.items() if "peft" in sections]
RESUMED = {
    "zero2": ("trainer-nf4", "sft-lora", "dpo-scored", "orpo", "reward-lora", "kto"),
    "zero3": ("seq2seq-lora", "sft-int8", "sft-bfd", "dpo-lora", "orpo-lora", "reward", "kto-lora"),
}
"""Torchrun → what is stopped in it and goes on: every method once, whole models, adapters and bases of 4 and 8 bits."""
PLAIN = ("trainer-lora", "seq2seq-lora", "sft-lora", "dpo-lora", "dpo-scored", "orpo", "reward", "kto")
SCORED = {"dpo-scored": "dpo", "kto-scored": "kto"}
"""Training that reads what its reference gives the rows → the one that computes it in each step."""
BASE = "runs/pretrain/checkpoint"
BASES = {"sft-experts": "mixtral"}
SIZES = {
    "mixtral": {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "num_local_experts": 4}
    | {"num_attention_heads": 2, "num_key_value_heads": 1},
    "switch_transformers": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "num_experts": 32}
    | {"num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    | {"dropout_rate": 0.0, "router_jitter_noise": 0.0},
}
"""Two mixtures of experts: joined into one weight a layer, and a layer each."""
APART = {"zero2": ("zero0", "zero2"), "zero3": ("zero3",)}
"""Torchrun → the stages of ZeRO at which experts that are a layer each are trained in it."""


DROPPING = "kto-dropout"
OTHERS_RESUMED = {"zero2": (DROPPING,), "zero3": ()}
PACKED_BEFORE = {"sft-bfd": "bfd"}
"""Interrupted trainings that read packed rows → their strategy; the others with that name pack themselves."""


def training(workplace, name, place, zero, **more):
    """Return the job of tests/training/many_trainings.py for one of METHODS."""
    script, dataset, sections, *_ = METHODS[name]
    sections = {**sections, "training": {**TRAINING, "max_steps": STEPS, **sections.get("training", {})}}
    command = workplace.training(
        script, f"{place}/{name}", zero=zero, dataset=dataset, base=BASES.get(name, BASE), **sections, **more
    )
    scores = ["--reference_scores", f"scores/{zero}-{SCORED[name]}"] if name in SCORED else []
    return {"arguments": [*command[1:], *scores]}


def scoring(zero, trainer):
    """Return the job that scores the rows for the trainings of SCORED."""
    keys = {"per_device_train_batch_size": TRAINING["per_device_train_batch_size"]}
    flags = {"trainer": trainer, "training": json.dumps(keys), "dataset": "preference", "base": BASE}
    flags |= {"deepspeed": str(ROOT / f"config/deepspeed/{zero}.json"), "output": f"scores/{zero}-{trainer}"}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    return {"arguments": [str(ROOT / "scripts/score_reference.py"), *words]}


def experts_apart(workplace, zero):
    """Return the job of a mixture whose 32 experts are a layer each, of which a rank's few tokens reach few."""
    steps = {**TRAINING, "global_batch_size": 2, "per_device_train_batch_size": 1, "max_steps": STEPS}
    sections = {"dataset": "short", "base": "switch_transformers", "training": steps}
    return {"arguments": workplace.training("seq2seq_train.py", f"apart/{zero}", zero=zero, **sections)[1:]}


def make_mixtures(folder):
    """Make the two mixtures of experts in `folder`, and rows for the second."""
    for model_type, sizes in SIZES.items():
        torch.manual_seed(5)
        shutil.copytree(folder / "tokenizer", folder / model_type)
        tokenizer = AutoTokenizer.from_pretrained(folder / model_type)
        ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        ids |= {"eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": tokenizer.pad_token_id}
        auto = AutoModelForCausalLM if model_type == "mixtral" else AutoModelForSeq2SeqLM
        auto.from_config(AutoConfig.for_model(model_type, **ids, **sizes)).save_pretrained(folder / model_type)
    rows = [{"input_ids": [9 + number, 40 + number], "labels": [80 + number]} for number in range(12)]
    write_dataset(folder / "short", "seq2seq", rows[:8], rows[8:])


def interrupted(workplace, name, place, zero):
    """Return two jobs: one that is stopped in step 2, after a checkpoint of step 1, and one that goes on."""
    job = training(workplace, name, place, zero, tracking={"save_minutes": 1e-6})
    if name in PACKED_BEFORE:  # what the other training did as it started
        job["arguments"] += ["--packed_rows", f"packed/{name}"]
    return [{**job, "stop_at": 2}, job]


def dropping(workplace):
    """Return the jobs of a training with live dropout: whole, and stopped in step 2 to go on from step 1.

    KTO passes through the model before each step, so what that pass drops decides what the others draw.
    """
    training = {**TRAINING, "max_steps": STEPS, "disable_dropout": False}
    sections = {"peft": {**LORA, "lora_dropout": 0.5}, "training": training, "dataset": "preference", "base": BASE}

    def job(place, **more):
        return {"arguments": workplace.training("kto_train.py", f"{place}/{DROPPING}", **sections, **more)[1:]}

    stopped = job("again-zero2", tracking={"save_minutes": 1e-6})
    return [job("zero2"), {**stopped, "stop_at": 2}, stopped]


def pack_before(workplace):
    """Write the packed rows that scripts/pack_dataset.py makes for PACKED_BEFORE."""
    for name, strategy in PACKED_BEFORE.items():
        folder = workplace.folder / "packed" / name
        folder.mkdir(parents=True)
        data = load_training_data(workplace.folder / "chat", ("chat",))
        write_packed_rows(data, strategy, PACKED["seq_length"], folder)


def without_deepspeed(workplace, name):
    """Return the job of plain data parallel training, which a run without `deepspeed:` is."""
    job = training(workplace, name, "plain", "zero2")
    at = job["arguments"].index("--deepspeed")
    del job["arguments"][at : at + 2]
    return job


@pytest.fixture(scope="module")
def torchruns(workplace, runs):
    """All trainings of this module, in one torchrun for each stage of ZeRO: stage → what was printed."""
    said = {}
    make_mixtures(workplace.folder)
    pack_before(workplace)
    for zero in ("zero2", "zero3"):
        jobs = [scoring(zero, trainer) for trainer in SCORED.values()]
        jobs += [training(workplace, name, zero, zero) for name in METHODS]
        jobs += [job for name in RESUMED[zero] for job in interrupted(workplace, name, f"again-{zero}", zero)]
        if zero == "zero2":
            jobs += [*(without_deepspeed(workplace, name) for name in PLAIN), *dropping(workplace)]
        jobs += [experts_apart(workplace, stage) for stage in APART[zero]]
        said[zero] = workplace.torchrun("many_trainings.py", jobs)
    return said


@pytest.fixture(params=["zero2", "zero3"])
def methods(request, workplace, torchruns):
    """All methods at one stage of ZeRO: (their folder, what was printed)."""
    return workplace.folder / request.param, torchruns[request.param]


def test_losses_are_what_they_were(methods):
    folder, _ = methods
    for name, (*_, sections, before, after) in METHODS.items():
        measured = json.loads((folder / name / "metrics.json").read_text())
        exact = "training" not in sections or "bf16" not in sections["training"]
        tolerance = 1e-4 if exact else 3e-3  # 16 bits round, and a processor may round in another order
        assert measured["before"]["loss"] == pytest.approx(before, abs=tolerance), name
        assert measured["after"]["loss"] == pytest.approx(after, abs=tolerance), name
        assert measured["train"]["steps"] == STEPS


def test_metrics_say_how_many_parameters_were_trained_of_how_many(methods, workplace):
    """Those of the base and of the adapter, at ZeRO-3 and of a base in 4 bits as well."""
    folder, _ = methods
    for name, (*_, sections, _before, _after) in METHODS.items():
        train = json.loads((folder / name / "metrics.json").read_text())["train"]
        head = 64 if name.startswith("reward") else 0  # which the base does not have
        base = weights_in(workplace.folder / BASES.get(name, BASE) / "model.safetensors") + head
        adapted = "peft" in sections
        adapter = weights_in(folder / name / "checkpoint/adapter/adapter_model.safetensors") if adapted else 0
        assert train["parameters"] == base + adapter, name
        assert train["trained_parameters"] == (adapter if adapted else base), name


def weights_in(file):
    """Return how many numbers a file of weights holds."""
    with safe_open(file, framework="np") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def test_a_checkpoint_is_a_plain_model_with_the_adapter_merged_in(methods, workplace):
    """Base + adapter, put together by peft, answers as the merged model does; also where the base was quantized."""
    from peft import PeftModel

    folder, _ = methods
    ids = torch.arange(3, 35).reshape(2, 16)  # (B, T)
    for name in ADAPTED:
        scores = name.startswith("reward")
        auto, head = (AutoModelForSequenceClassification, {"num_labels": 1}) if scores else (AutoModelForCausalLM, {})
        merged = auto.from_pretrained(folder / name / "checkpoint")
        base = auto.from_pretrained(workplace.folder / BASES.get(name, BASE), **head)
        with torch.no_grad():
            before = base(ids).logits
            adapted = PeftModel.from_pretrained(base, folder / name / "checkpoint" / "adapter")(ids).logits
            after = merged(ids).logits
        torch.testing.assert_close(after, adapted, atol=2e-3 if "bf16" in str(METHODS[name]) else 1e-4, rtol=0.0)
        assert (after - before).abs().max() > 0.01, name  # it learned something


def test_what_a_checkpoint_holds(methods, workplace):
    folder, _ = methods
    for name in METHODS:
        files = tree(folder / name / "checkpoint")
        expected = {"model.safetensors", "config.json", "tokenizer.json", "README.md"}
        assert expected <= files.keys() and ("generation_config.json" in files) != name.startswith("reward")
        assert ("adapter/adapter_model.safetensors" in files) == (name in ADAPTED)
        state = TrainerState.load_from_json(folder / name / "checkpoint" / "trainer_state.json")
        assert (state.global_step, state.log_history[-1]["step"]) == (STEPS, STEPS)
        everything = b"".join(files.values())
        assert str(workplace.folder).encode() not in everything and str(ROOT).encode() not in everything
        if name in ADAPTED:
            adapter = json.loads(files["adapter/adapter_config.json"])
            assert adapter["base_model_name_or_path"] == BASES.get(name, BASE)
            assert adapter["target_modules"] == sorted(adapter["target_modules"])
            assert adapter["target_parameters"] in (None, sorted(JOINED))


def test_an_interrupted_training_of_any_method_ends_with_the_same_bytes(methods, workplace):
    folder, said = methods
    resumed, place = (*RESUMED[folder.name], *OTHERS_RESUMED[folder.name]), f"again-{folder.name}"
    assert said.count("resuming from checkpoint-") == len(resumed)
    for name in resumed:
        first, second = tree(folder / name), tree(workplace.folder / place / name)
        assert [file for file in first if first[file] != second.get(file)] == [], name
        assert first.keys() == second.keys()


def test_scores_of_a_reference_stand_for_the_model_itself(methods):
    """Step by step the same loss, held-out loss and rewards as with a second model in memory."""
    folder, _ = methods
    for scored, inline in SCORED.items():
        theirs, ours = (list(csv.DictReader((folder / name / "loss.csv").open())) for name in (inline, scored))
        assert len(ours) == STEPS + 1
        for own, other in zip(ours, theirs, strict=True):
            measured = {key: float(value) for key, value in other.items() if value}
            assert {key: float(value) for key, value in own.items() if value} == pytest.approx(measured, abs=1e-5)


def test_without_deepspeed_the_same_is_learned(workplace, torchruns):
    for name in PLAIN:
        measured = json.loads((workplace.folder / "plain" / name / "metrics.json").read_text())
        assert measured["after"]["loss"] == pytest.approx(METHODS[name][4], abs=1e-4), name


def test_ranks_whose_tokens_reach_different_experts_train_together_or_not_at_all(workplace, torchruns):
    """ZeRO-3 gathers all experts of a block and gives what without ZeRO is learned; ZeRO-2 would wait or be wrong."""
    zero0, zero3 = (
        [(row["eval_loss"], row["loss"]) for row in csv.DictReader((workplace.folder / file).open())]
        for file in ("apart/zero0/loss.csv", "apart/zero3/loss.csv")
    )
    assert zero0 == zero3 and len(zero0) == STEPS + 1
    assert not (workplace.folder / "apart/zero2/checkpoint").exists()
    said = "refused: switch_transformers: its experts are a layer each (SwitchTransformersSparseMLP)"
    assert said in torchruns["zero2"]
